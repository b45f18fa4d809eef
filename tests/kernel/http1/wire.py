"""A connection without a network: what it is sent comes piece by piece as a test wants it, at a time that the test sets."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from trivet.kernel.http1.connection import Connection, Patience


class Wire(asyncio.Transport):
    """Keeps what is written, and how reading stands."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = False
        self.reading = True

    def write(self, data: Any) -> None:
        self.sent += data

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Timer:
    """What is to be called at a time."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """A loop whose time stands still until it is set: the timers that are due then go off."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[Timer] = []

    @property
    def timers(self) -> list[Timer]:
        """Those that may still go off."""
        return [timer for timer in self._timers if not timer.cancelled]

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self._timers.append(Timer(when, callback))
        return self._timers[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)

    def set(self, now: float) -> None:
        self._now = now
        for timer in self.timers:
            if timer.when <= now:
                self._timers.remove(timer)
                timer.callback()


class Rig:
    """A connection on a wire; `freed` and `lost` count what it has told its owner."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.clock = Clock()
        self.wire = Wire()
        self.freed = self.lost = 0
        self.connection = Connection(self.clock, patience or Patience(10, 100), self._free, self._lost)  # type: ignore[arg-type]
        self.connection.connection_made(self.wire)

    def ask(self, body: bytes = b"") -> Connection:
        self.connection.start(b"POST / HTTP/1.1\r\n\r\n", body)
        return self.connection

    def feed(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.connection.data_received(piece)

    def end(self, error: Exception | None = None) -> None:
        """The other side has gone."""
        if error is None:
            self.connection.eof_received()
        self.wire.closed = True
        self.connection.connection_lost(error)

    def _free(self, _: Connection) -> None:
        self.freed += 1

    def _lost(self, _: Connection) -> None:
        self.lost += 1


async def whole(connection: Connection) -> bytes:
    """The body to its end."""
    await connection.head()
    body = b""
    while data := await connection.read():
        body += data
    return body
