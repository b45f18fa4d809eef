"""The listening end: connections of callers, and the server that has them."""

import asyncio
import contextvars
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import grpc

from trivet.kernel.http2 import frames
from trivet.kernel.http2.connection import Connection
from trivet.kernel.http2.context import ServedCall
from trivet.kernel.http2.frames import PREFACE, ConnectionFault, Fault
from trivet.kernel.http2.hpack import TOO_LARGE, Fields
from trivet.kernel.http2.messages import Refused, metadata_of, timeout_of
from trivet.kernel.rpc import Handler
from trivet.kernel.settings import unix_path
from trivet.kernel.wakeup import Wakeup

_IS_GRPC: Final = re.compile(r"application/grpc(?:[+;]|$)").match
_BACKLOG: Final = 1024
_MOST_STREAMS: Final = 10_000
"""How many calls may run at a time on one connection."""
_PREFACE_SECONDS: Final = 20.0
"""How long a connection may say nothing before it is closed."""


class ServingConnection(Connection):
    """A caller's connection; `find` gives the handler of a method, `most` is what a message may hold."""

    def __init__(self, server: "Http2Server") -> None:
        super().__init__(asyncio.get_running_loop())
        self._server = server
        self.most = server.most
        self.context = server.context
        self.peer = "unix:"
        self.sending: set[asyncio.Task[None]] = set()
        self._greeted = False
        self._last = 0
        self._left = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._timer = self.loop.call_later(_PREFACE_SECONDS, self.transport.abort)
        self._server.connections.add(self)
        self.begin(b"", {frames.MAX_CONCURRENT_STREAMS: _MOST_STREAMS})

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._server.lost(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._greeted:
            super().data_received(data)
            return
        data = self._rest + data
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self.abandon(Fault.PROTOCOL, "this is a port of gRPC")
        elif len(data) < len(PREFACE):
            self._rest = data
        else:
            self._greeted, self._rest = True, b""
            if self._timer is not None:
                self._timer.cancel()
            super().data_received(data[len(PREFACE) :])

    def opened(self, stream: int, fields: Fields, *, ended: bool) -> None:
        if stream <= self._last:
            return  # trailers of a request that was answered before its end
        if not stream & 1:
            raise ConnectionFault(Fault.PROTOCOL, "an even stream")
        if self._left or len(self.streams) >= _MOST_STREAMS:
            self.write(frames.reset(stream, Fault.REFUSED_STREAM))
            return
        self._last = stream
        given = dict(fields)
        call = ServedCall(self, stream, self._server.find(given.get(":path", "")))
        self.add(call)
        try:
            _check(given)
            timeout = given.get("grpc-timeout")
            call.start(metadata_of(fields), given.get("grpc-encoding", ""), None if timeout is None else timeout_of(timeout))
        except Refused as refusal:
            call.refuse(refusal)
            return
        if ended:
            call.headers([], ended=True)

    def leave(self) -> None:
        """Take no more calls; the connection ends with the last that runs."""
        if not self._left and not self.lost:
            self._left = True
            self.write(frames.goaway(self._last, Fault.NONE))
            if not self.streams:
                self.close()

    def ended(self) -> None:
        if self._left and not self.streams:
            self.close()


def _check(given: dict[str, str]) -> None:
    if TOO_LARGE[0] in given:
        raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "The metadata are too large.")
    if given.get(":method") != "POST" or not _IS_GRPC(given.get("content-type", "")):
        raise Refused(grpc.StatusCode.INTERNAL, "This is no call of gRPC.")


class Http2Server:
    """Listens on a Unix socket, and serves what `find` finds."""

    def __init__(self, find: Callable[[str], Handler], most: int) -> None:
        self.find = find
        self.most = most
        self.context = contextvars.copy_context()
        self.connections: set[ServingConnection] = set()
        self._changed = Wakeup()
        self._listening: asyncio.AbstractServer | None = None

    async def listen(self, address: str) -> str:
        """Listen on `unix:PATH`."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_unix_server(self._connection, unix_path(address), backlog=_BACKLOG)
        return address

    def leave(self, seconds: float = 0) -> None:
        """Take no more connections, and no more calls on those that there are; how long these take is for whoever runs them."""
        del seconds
        if self._listening is not None:
            self._listening.close()
        for connection in list(self.connections):
            connection.leave()

    async def close(self, seconds: float) -> None:
        """Wait so long for what is still on its way to its reader, then cut it off."""
        self.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.connections:
                    await self._changed.wait()
        for connection in list(self.connections):
            connection.transport.abort()

    def lost(self, connection: ServingConnection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        self._changed.notify()

    def _connection(self) -> ServingConnection:
        return ServingConnection(self)
