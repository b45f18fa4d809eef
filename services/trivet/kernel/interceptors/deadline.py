"""Bounds every RPC in time: by the caller's deadline, or by ours if it brings none."""

import asyncio

from trivet.kernel.call import Call, Proceed
from trivet.kernel.errors import RequestTimeout


class Deadline:
    """Cancels a handler that outlives its deadline; `default` and `longest` are in seconds."""

    def __init__(self, default: float, longest: float) -> None:
        self._default = default
        self._longest = longest

    async def __call__(self, call: Call, proceed: Proceed) -> None:
        """Run the call within its deadline; a health watch that sets none goes on until its caller leaves.

        Raises:
            RequestTimeout: the deadline passed.
        """
        remaining: float | None = call.context.time_remaining()
        if remaining is None and call.infrastructure:
            await proceed()
            return
        seconds = self._default if remaining is None else min(remaining, self._longest)
        call.deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(call.deadline) as scope:
                await proceed()
        except TimeoutError:
            if scope.expired():
                raise RequestTimeout from None
            raise  # a timeout of the handler's own
