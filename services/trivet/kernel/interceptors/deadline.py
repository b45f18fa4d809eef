"""Bounds every RPC in time: by the caller's deadline, or by ours if it brings none."""

import asyncio

from trivet.kernel.call import Call


class Deadline:
    """Cancels a handler that outlives its deadline; `default` and `longest` are in seconds."""

    def __init__(self, default: float, longest: float) -> None:
        self._default = default
        self._longest = longest

    def begin(self, call: Call) -> None:
        """Let the time of a call run; a health watch that sets none goes on until its caller leaves."""
        remaining: float | None = call.context.time_remaining()
        if remaining is None and call.infrastructure:
            return
        seconds = self._default if remaining is None else min(remaining, self._longest)
        loop = asyncio.get_running_loop()
        call.deadline = loop.time() + seconds
        # In process, what the caller has set is kept by the exchange, which tells the caller without waiting for the handler.
        if not call.in_process or seconds != remaining:
            call.timer = loop.call_at(call.deadline, _expire, call)

    def end(self, call: Call) -> bool:
        """Stop the time; whether it was up, and nobody else has cancelled the call."""
        if call.timer is None:
            return False
        call.timer.cancel()
        call.timer = None
        return call.expired and call.task is not None and call.task.uncancel() == 0


def _expire(call: Call) -> None:
    if call.task is not None:
        call.expired = True
        call.task.cancel()
