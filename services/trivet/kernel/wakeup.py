"""Waking up those who wait for a change of state."""

import asyncio


class Wakeup:
    """Wakes all who wait; unlike a Condition it needs no lock, and a waiter looks up itself what has changed."""

    __slots__ = ("_loop", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """`loop` is the one that those who wait run in; to ask for it each time takes a question to the system."""
        self._loop = loop
        self.waiters: dict[asyncio.Future[None], None] = {}
        """Those who wait now, in their order: who waits longest is woken first."""

    async def wait(self) -> None:
        """Return after the next `notify`."""
        waiter = self.next()
        try:
            await waiter
        finally:
            # Who gives up must be forgotten: the next change may be hours away, or never come.
            self.waiters.pop(waiter, None)

    def next(self) -> "asyncio.Future[None]":
        """What the next `notify` sets done; for one who does not give up before that, and saves a coroutine by it."""
        waiter = (self._loop or asyncio.get_running_loop()).create_future()
        self.waiters[waiter] = None
        return waiter

    def notify(self) -> None:
        """Wake everybody who waits now."""
        if not self.waiters:
            return
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
