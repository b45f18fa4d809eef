"""An upstream that plays exact bytes: for what well-behaved servers never send, and to see when a client leaves."""

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

CLOSE: Final = "close"
RESET: Final = "reset"

Step = bytes | asyncio.Event | str
"""Bytes to write, a gate to wait at, or CLOSE or RESET of the connection."""


@dataclass(frozen=True)
class Request:
    """A request as it came; `body` is parsed JSON, None where there was none."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


def response(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    """A whole answer."""
    given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode() + body


def answer(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    """A whole answer with a JSON body."""
    return response(json.dumps(body).encode(), status=status, headers=headers)


def stream_head(content_type: str = "text/event-stream") -> bytes:
    """The head of a stream; `pieces` make its body."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


def piece(data: bytes) -> bytes:
    """One HTTP chunk of a stream's body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


END: Final = b"0\r\n\r\n"


def stream(*data: bytes | asyncio.Event) -> list[Step]:
    """A whole stream of these pieces, waiting at gates, with a proper end."""
    return [stream_head(), *(piece(item) if isinstance(item, bytes) else item for item in data), END]


def sse(*chunks: object, done: bool = True) -> bytes:
    """Objects as events, and `[DONE]`."""
    events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    return events + b"data: [DONE]\n\n" * done


class ScriptedUpstream:
    """Answers each request with the next script, in the order they were given.

    `requests` holds what came, `open` the number of connections now, `connections` of all that were ever made,
    `abandoned` of those that were closed by the client before their script was over.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: it speaks only that, with the certificate in there."""
        self._tls = tls
        self.requests: list[Request] = []
        self.open = 0
        self.connections = 0
        self.abandoned = 0
        self.transports: set[asyncio.Transport] = set()
        self._scripts: list[Callable[[Request], Sequence[Step]]] = []
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for transport in self.transports:
            transport.abort()
        await self.until(lambda: self.open == 0)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def play(self, *steps: Step | Sequence[Step]) -> None:
        """The script for the next request that has none yet."""
        flat: list[Step] = []
        for step in steps:
            flat += [step] if isinstance(step, bytes | str | asyncio.Event) else step
        self._scripts.append(lambda _: flat)

    def reply(self, script: Callable[[Request], Sequence[Step]]) -> None:
        """The script for the next request that has none yet, made when it comes."""
        self._scripts.append(script)

    async def until(self, reached: Callable[[], bool], seconds: float = 5) -> None:
        """Waits for what requests and connections bring about."""
        async with asyncio.timeout(seconds):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    def forget(self) -> None:
        """Drop the scripts that nobody played, and count from here."""
        self.requests.clear()
        self.abandoned = 0
        self._scripts.clear()

    def next_script(self, request: Request) -> Sequence[Step]:
        """Called by a connection for the request it has read."""
        self.requests.append(request)
        self._changed.set()
        return self._scripts.pop(0)(request) if self._scripts else [answer({"error": "no script is left"}, status=500)]

    def count(self, change: int) -> None:
        """Called by a connection that is made or lost."""
        self.open += change
        self.connections += change > 0
        self._changed.set()


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._buffer = b""
        self._playing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports only look like asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._upstream.transports.add(self._transport)
        self._upstream.count(1)

    def connection_lost(self, _error: Exception | None) -> None:
        self._upstream.transports.discard(self._transport)
        if self._playing:
            self._upstream.abandoned += not self._playing.done()
            self._playing.cancel()
        self._upstream.count(-1)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        method, path, _ = first.split(" ")
        body = json.loads(rest[:length]) if length else None
        script = self._upstream.next_script(Request(method, path, headers, body))
        self._playing = asyncio.create_task(self._play(script))

    async def _play(self, script: Sequence[Step]) -> None:
        for step in script:
            if isinstance(step, bytes):
                self._transport.write(step)
                # Lets the bytes out as a packet of their own.
                await asyncio.sleep(0)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif step == RESET:
                self._transport.abort()
            else:
                self._transport.close()
