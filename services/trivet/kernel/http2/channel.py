"""A channel over a Unix socket."""

import asyncio
from collections.abc import Callable, Iterable
from random import random
from typing import Any, Final

import grpc

from trivet.kernel.call import outgoing
from trivet.kernel.http2 import hpack
from trivet.kernel.http2.calling import CallingConnection, MadeCall
from trivet.kernel.http2.messages import encoded, larger, timeout_text
from trivet.kernel.inprocess.calls import (
    OwnDuplexCall,
    OwnStreamCall,
    OwnUnaryCall,
    OwnUploadCall,
    Requests,
    feed,
)
from trivet.kernel.inprocess.requests import RequestStream
from trivet.kernel.settings import unix_path
from trivet.kernel.wakeup import Wakeup

_State = grpc.ChannelConnectivity

_CONNECT_SECONDS: Final = 20.0
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 2.0
"""A server that was away for long is back within these seconds."""

_ATTEMPTS: Final = 2
"""How often an idempotent call is made again."""
_FIRST_BACKOFF_SECONDS: Final = 0.1
_BACKOFF: Final = 3


class Http2Channel(grpc.aio.Channel):
    """See `kernel.client.connect`, which makes it."""

    def __init__(self, address: str, idempotent: Iterable[str], most: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.most = most
        self._idempotent = frozenset(f"/{name}" for name in idempotent)
        self._path = unix_path(address)
        self._connection: CallingConnection | None = None
        self._waiting: list[MadeCall] = []
        self._connecting: asyncio.Task[None] | None = None
        self._pause = 0.0
        self._not_before = 0.0
        self._state = _State.IDLE
        self._state_changed = Wakeup()

    # What grpc.aio.Channel has.

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
    ) -> Any:
        return _Caller(self, method, request_serializer, response_deserializer, OwnUnaryCall).one

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
    ) -> Any:
        return _Caller(self, method, request_serializer, response_deserializer, OwnStreamCall).one

    def stream_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
    ) -> Any:
        return _Caller(self, method, request_serializer, response_deserializer, OwnUploadCall).many

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
    ) -> Any:
        return _Caller(self, method, request_serializer, response_deserializer, OwnDuplexCall).many

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        if try_to_connect and self._state is _State.IDLE:
            self._connect()
        return self._state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        while self._state is last_observed_state:
            await self._state_changed.wait()

    async def channel_ready(self) -> None:
        while (state := self._state) is not _State.READY:
            if state is _State.SHUTDOWN:
                raise grpc.aio.UsageError("Channel is closed.")
            self._connect()
            if self._connecting is not None:
                await asyncio.wait([self._connecting])
            if self._connection is None:
                await asyncio.sleep(self._pause)

    async def close(self, grace: float | None = None) -> None:
        """Cancel what still runs, and make no more calls."""
        del grace
        self._become(_State.SHUTDOWN)
        if self._connecting is not None:
            self._connecting.cancel()
        for exchange in self._waiting:
            exchange.cancel("Channel is closed.")
        if self._connection is not None:
            self._connection.cancel()

    async def __aenter__(self) -> "Http2Channel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Calls.

    def made(self, method: str, timeout: float | None, metadata: Any, requests: RequestStream | None) -> MadeCall:
        """A call that is not begun.

        Raises:
            grpc.aio.UsageError: the channel is closed.
            ValueError: metadata that can't be sent.
        """
        if self._state is _State.SHUTDOWN:
            raise grpc.aio.UsageError("Channel is closed.")
        timeout, pairs = outgoing(timeout, metadata)
        exchange = MadeCall(self, timeout, requests)
        exchange.block = encoded(pairs)
        exchange.attempts = _ATTEMPTS if method in self._idempotent else 0
        return exchange

    def head(self, method: str) -> bytes:
        """The header fields that all calls of a method have."""
        return hpack.block(
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-accept-encoding", "identity, deflate, gzip"),
        )

    def begin(self, exchange: MadeCall) -> None:
        """Make a call, now or when there is a connection."""
        if exchange.code is not None:
            return
        connection = self._connection
        if connection is None or connection.full:
            self._wait(exchange)
            return
        remaining = exchange.time_remaining()
        block = exchange.block if remaining is None else exchange.block + hpack.field("grpc-timeout", timeout_text(remaining))
        connection.call(exchange, block)

    def again(self, exchange: MadeCall) -> bool:
        """Make a call once more, a little later, if it may be."""
        if not exchange.attempts or exchange.request is None or self._state is _State.SHUTDOWN:
            return False
        pause = _FIRST_BACKOFF_SECONDS * _BACKOFF ** (_ATTEMPTS - exchange.attempts) * (0.8 + 0.4 * random())  # noqa: S311
        exchange.attempts -= 1
        exchange.stream = None
        self.loop.call_later(pause, self.begin, exchange)
        return True

    # The connection.

    def _wait(self, exchange: MadeCall) -> None:
        if self._state is _State.SHUTDOWN:
            exchange.cancel("Channel is closed.")
        elif self._connection is None and self._connecting is None and self.loop.time() < self._not_before:
            self._fail(exchange)
        else:
            self._waiting.append(exchange)
            if self._connection is None:
                self._connect()

    def _fail(self, exchange: MadeCall) -> None:
        if not self.again(exchange):
            exchange.end(grpc.StatusCode.UNAVAILABLE, f"failed to connect to {self._path}")

    def _connect(self) -> None:
        if self._connecting is None and self._connection is None and self._state is not _State.SHUTDOWN:
            self._become(_State.CONNECTING)
            self._connecting = self.loop.create_task(self._open())

    async def _open(self) -> None:
        connection: CallingConnection | None = None
        try:
            opening = self.loop.create_unix_connection(lambda: CallingConnection(self._left, self._freed), self._path)
            _, connection = await asyncio.wait_for(opening, _CONNECT_SECONDS)
        except OSError:
            pass
        self._connecting = None
        if connection is None or connection.lost:
            self._lacks_connection()
            return
        self._connection = connection
        self._pause = 0.0
        self._become(_State.READY)
        self._freed()

    def _lacks_connection(self) -> None:
        self._pause = min(_LONGEST_PAUSE_SECONDS, 2 * self._pause) or _FIRST_PAUSE_SECONDS
        self._not_before = self.loop.time() + self._pause
        self._become(_State.TRANSIENT_FAILURE)
        waiting, self._waiting = self._waiting, []
        for exchange in waiting:
            self._fail(exchange)

    def _freed(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for exchange in waiting:
                self.begin(exchange)

    def _left(self, connection: CallingConnection) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        self._become(_State.IDLE)
        if self._waiting:
            self._connect()

    def _become(self, state: grpc.ChannelConnectivity) -> None:
        if self._state is not state and self._state is not _State.SHUTDOWN:
            self._state = state
            self._state_changed.notify()


class _Caller:
    """A method, as it is called; `shape` is what a call of it looks like to its caller."""

    __slots__ = ("_channel", "_head", "_method", "_parse", "_serialize", "_shape", "_single")

    def __init__(self, channel: Http2Channel, method: str, serialize: Any, parse: Any, shape: Callable[[MadeCall], Any]) -> None:
        self._channel = channel
        self._method = method
        self._serialize = serialize
        self._parse = parse
        self._shape = shape
        self._single = shape in (OwnUnaryCall, OwnUploadCall)
        self._head = channel.head(method)

    def one(self, request: Any, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
        """Call with a request of one message."""
        exchange = self._made(timeout, metadata, None)
        data = exchange.request = request if self._serialize is None else self._serialize(request)
        channel = self._channel
        if len(data) > channel.most:
            refusal = larger("Sent", len(data), channel.most)
            exchange.end(refusal.code, refusal.details)
        else:
            channel.begin(exchange)
        return self._shape(exchange)

    def many(self, requests: Requests | None = None, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
        """Call with a request that is written to the call, or what is in `requests`."""
        exchange = self._made(timeout, metadata, RequestStream())
        exchange.serialize = self._serialize
        self._channel.begin(exchange)
        if requests is not None:
            feed(exchange, requests)
        return self._shape(exchange)

    def _made(self, timeout: float | None, metadata: Any, requests: RequestStream | None) -> MadeCall:
        exchange = self._channel.made(self._method, timeout, metadata, requests)
        exchange.block = self._head + exchange.block
        exchange.parse = self._parse
        exchange.single = self._single
        return exchange
