"""Tells those of this process who follow a response that there is more of it in the store."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Listener:
    """Hears what is announced from its making on, so that nothing is missed between a look into the store and the wait."""

    def __init__(self) -> None:
        self._announced = asyncio.Event()

    def tell(self) -> None:
        """Something was announced."""
        self._announced.set()

    async def wait(self, seconds: float) -> bool:
        """Whether anything was announced since the last call, waiting for it at most this long."""
        try:
            async with asyncio.timeout(seconds):
                await self._announced.wait()
        except TimeoutError:
            return False
        self._announced.clear()
        return True


class Announcements:
    """What happens to responses in this process, by their ids; it remembers nothing."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Listener]] = {}

    def announce(self, response_id: str) -> None:
        """Wake those who listen for the response: the store has more of it, or no more at all."""
        for listener in self._listeners.get(response_id, ()):
            listener.tell()

    @contextmanager
    def listening(self, response_id: str) -> Iterator[Listener]:
        """A listener for the response."""
        listener = Listener()
        listeners = self._listeners.setdefault(response_id, set())
        listeners.add(listener)
        try:
            yield listener
        finally:
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(response_id, None)
