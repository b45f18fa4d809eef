"""Bounds every RPC in time: by the caller's deadline, or by ours if it brings none."""

import asyncio
from contextvars import Context

from trivet.kernel.call import Call


class Deadline:
    """Cancels a handler that outlives its deadline; `default` and `longest` are in seconds.

    Calls without a deadline of their own expire in the order in which they began, so one timer serves all of them: that of the
    eldest. To begin and to end a call then costs next to nothing.
    """

    def __init__(self, default: float, longest: float) -> None:
        self._default = default
        self._longest = longest
        self._by_default: dict[Call, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, call: Call) -> None:
        """Let the time of a call run; a health watch that sets none goes on until its caller leaves."""
        remaining: float | None = call.context.time_remaining()
        if remaining is None and call.infrastructure:
            return
        # That of the server, which has only one.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        if remaining is None:
            call.deadline = loop.time() + self._default
            self._by_default[call] = None
            if self._timer is None:
                self._set_timer(call.deadline)
            return
        call.deadline = loop.time() + min(remaining, self._longest)
        # In process, what the caller has set is kept by the exchange, which tells the caller without waiting for the handler.
        if not call.in_process or remaining > self._longest:
            call.timer = loop.call_at(call.deadline, _expire, call)

    def end(self, call: Call) -> bool:
        """Stop the time; whether it was up, and nobody else has cancelled the call."""
        self._by_default.pop(call, None)
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None
        return call.expired and call.task is not None and call.task.uncancel() == 0

    def _expire_eldest(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for call in list(self._by_default):
            assert call.deadline is not None
            if call.deadline > loop.time():
                self._set_timer(call.deadline)
                return
            del self._by_default[call]
            _expire(call)

    def _set_timer(self, deadline: float) -> None:
        # In a context of its own: that of the running call would keep the call, long after its end.
        self._timer = asyncio.get_running_loop().call_at(deadline, self._expire_eldest, context=Context())


def _expire(call: Call) -> None:
    if call.task is not None:
        call.expired = True
        call.task.cancel()
