"""A small HTTP client on asyncio that says when what came: latencies, first tokens, and streams whose every chunk is checked."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from bench.targets.target import Request

_PATIENCE_SECONDS = 120.0


class Broken(RuntimeError):
    """An answer that ended before its end, or with another status than 200."""


@dataclass
class Answer:
    """What came for one request: each piece of the body with the time at which it came, in seconds since the request went out."""

    status: int = 0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    ended: float = 0.0

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(data for _, data in self.pieces)

    def first_with(self, words: bytes) -> float:
        """When the words were there."""
        received = b""
        for at, data in self.pieces:
            received += data
            if words in received:
                return at
        raise Broken(f"no {words!r} in {received[:300]!r}")


class Connection(asyncio.Protocol):
    """A connection that is kept, for one request after the other."""

    def __init__(self) -> None:
        self._received = b""
        self._in_body = False
        self._left: int | None = None
        self._answer = Answer()
        self._began = 0.0
        self._done: asyncio.Future[None] | None = None
        self._seen: Callable[[bytes], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def ask(
        self, request: Request, seen: Callable[[bytes], None] | None = None, *, patience: float = _PATIENCE_SECONDS
    ) -> Answer:
        """The answer, when it has ended. With `seen`, pieces of the body go there and are not kept. Raises Broken."""
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        self._answer, self._seen = Answer(), seen
        self._done = asyncio.get_running_loop().create_future()
        start = f"POST {request.path} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(request.body)}\r\n\r\n"
        self._began = time.perf_counter()
        self._transport.write(start.encode() + request.body)
        async with asyncio.timeout(patience):
            await self._done
        if self._answer.status != 200:
            raise Broken(f"status {self._answer.status}: {self._answer.body[:300]!r}")
        return self._answer

    def close(self) -> None:
        """Leave, in the middle of an answer or not."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._in_body and not self._read_head():
            return
        body = self._plain() if self._left is not None else self._chunked()
        if body and self._seen:
            self._seen(body)
        elif body:
            self._answer.pieces.append((time.perf_counter() - self._began, body))
        if not self._in_body and self._done and not self._done.done():
            self._answer.ended = time.perf_counter() - self._began
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(Broken(f"the connection was closed: {exc}"))

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head, self._received = self._received[:end].lower(), self._received[end + 4 :]
        self._answer.status = int(head[9:12])
        at = head.find(b"content-length:")
        self._left = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else None
        self._in_body = True
        return True

    def _plain(self) -> bytes:
        assert self._left is not None
        body, self._received = self._received[: self._left], self._received[self._left :]
        self._left -= len(body)
        self._in_body = self._left > 0
        return body

    def _chunked(self) -> bytes:
        """What is there of the body without the chunked coding."""
        body, at = [], 0
        while (line := self._received.find(b"\r\n", at)) >= 0:
            size = int(self._received[at:line], 16)
            after = line + 2 + size + 2
            if len(self._received) < after:
                break
            body.append(self._received[line + 2 : after - 2])
            at = after
            if not size:
                self._in_body = False
                break
        self._received = self._received[at:]
        return b"".join(body)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection to the port of this machine."""
    connection = await connect(port)
    try:
        yield connection
    finally:
        connection.close()


async def connect(port: int) -> Connection:
    """A connection whose user closes it."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection
