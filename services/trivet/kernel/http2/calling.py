"""The calling end: a call that is made over the wire, and a connection that carries such calls."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError

from trivet.kernel.http2 import frames
from trivet.kernel.http2.connection import Connection, Stream
from trivet.kernel.http2.frames import END_STREAM, PREFACE, ConnectionFault, Fault
from trivet.kernel.http2.hpack import TOO_LARGE, Fields
from trivet.kernel.http2.messages import Refused, Splitter, larger, metadata_of, status_of
from trivet.kernel.http2.receiving import Receiving
from trivet.kernel.inprocess.exchange import Exchange, Window
from trivet.kernel.inprocess.requests import RequestStream

if TYPE_CHECKING:
    from trivet.kernel.http2.channel import Http2Channel

_KEEPALIVE_SECONDS: Final = 30.0
_KEEPALIVE_PATIENCE: Final = 10.0
_PING: Final = frames.frame(frames.PING, 0, 0, b"\0" * 8)

_UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE
_FAULTS: Final = {
    Fault.REFUSED_STREAM: _UNAVAILABLE,
    Fault.CANCEL: grpc.StatusCode.CANCELLED,
    Fault.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class MadeCall(Exchange):
    """A call whose handler is elsewhere: the state of its two ends, of which the far one is a stream of a connection.

    `block` are its header fields without a deadline; `request` is the message in bytes, None where that is a stream.
    """

    __slots__ = (
        "attempts",
        "block",
        "channel",
        "lengths",
        "parse",
        "refused",
        "request",
        "serialize",
        "single",
        "stream",
        "writing",
    )

    def __init__(self, channel: "Http2Channel", timeout: float | None, requests: RequestStream | None) -> None:
        super().__init__(channel.loop, (), timeout, None, requests)
        self.channel = channel
        self.block = b""
        self.request: bytes | None = None
        self.serialize: Callable[[Any], bytes] | None = None
        self.parse: Callable[[bytes], Any] | None = None
        self.single = False
        """Whether one message answers."""
        self.attempts = 0
        """How often it may be tried again where the server was unavailable."""
        self.refused = False
        """Whether a server did not take it."""
        self.stream: _CallStream | None = None
        self.writing: asyncio.Task[None] | None = None
        self.lengths: deque[int]

    def arrived(self, message: Any, length: int) -> None:
        """A message of so many bytes has come for the reader."""
        messages = self.messages
        if self.reader is not None and not messages and self.code is None and self.reader.message(message):
            self._taken(length)
            return
        if messages is None:
            messages = self.messages = Window()
            self.lengths = deque()
        messages.append(message)
        self.lengths.append(length)
        self.changed.notify()

    def take(self, messages: Window) -> Any:
        self._taken(self.lengths.popleft())
        return super().take(messages)

    def _taken(self, length: int) -> None:
        if self.stream is not None:
            self.stream.receiving.read(length)

    def end(self, code: grpc.StatusCode, details: str = "") -> None:
        super().end(code, details)
        self.let_go()

    def let_go(self) -> None:
        """Forget the far end, and have it stop if it has not."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.leave()
        if self.writing is not None:
            self.writing.cancel()
            self.writing = None


class _CallStream(Stream):
    """A call on a connection: one attempt at it."""

    __slots__ = ("_connection", "_exchange", "_headed", "_splitter", "receiving")

    def __init__(self, connection: "CallingConnection", exchange: MadeCall, number: int) -> None:
        super().__init__(number)
        self._connection = connection
        self._exchange = exchange
        self._headed = False
        self._splitter = Splitter(exchange.channel.most)
        self.receiving = Receiving(connection, number, exchange.channel.most)

    def headers(self, fields: Fields, *, ended: bool) -> None:
        exchange = self._exchange
        try:
            if TOO_LARGE in fields:
                raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "The metadata of the answer are too large.")
            if ended:
                self._over(fields)
            elif not self._headed and (given := dict(fields)).get(":status") == "200":
                self._headed = True
                encoding = given.get("grpc-encoding", "identity")
                if encoding != "identity":
                    self._splitter = Splitter(exchange.channel.most, encoding)
                exchange.initial = metadata_of(fields)
                exchange.changed.notify()
            elif not self._headed:
                self._end(*status_of(fields))
        except Refused as refusal:
            self._end(refusal.code, refusal.details)

    def data(self, data: bytes, *, ended: bool) -> None:
        self.receiving.came(len(data))
        try:
            self._splitter.feed(data, self._take)
        except Refused as refusal:
            self._end(refusal.code, refusal.details)
            return
        if ended:
            self._end(grpc.StatusCode.UNKNOWN, "The answer ends without a status.")
        else:
            self.receiving.settle()

    def broken(self, fault: Fault, text: str) -> None:
        exchange = self._exchange
        if fault is Fault.REFUSED_STREAM and not exchange.refused and exchange.request is not None:
            # Nothing was done about it, so it may be asked of another, whatever it is.
            exchange.refused = True
            exchange.stream = None
            exchange.channel.begin(exchange)
            return
        code = _UNAVAILABLE if fault is Fault.NONE else _FAULTS.get(fault, grpc.StatusCode.INTERNAL)
        self._settle(code, text)

    def cancelled(self, details: str) -> None:
        """Its channel is closed."""
        self._exchange.cancel(details)

    def leave(self) -> None:
        """Nobody waits any more."""
        connection = self._connection
        if connection.streams.get(self.id) is self:
            connection.write(frames.reset(self.id, Fault.CANCEL))
            connection.remove(self)

    def _take(self, data: bytes) -> None:
        exchange = self._exchange
        try:
            message = data if exchange.parse is None else exchange.parse(data)
        except (DecodeError, ValueError) as failure:
            raise Refused(grpc.StatusCode.INTERNAL, f"The answer is not understood: {type(failure).__name__}.") from None
        if exchange.single:
            if exchange.response is not None:
                raise Refused(grpc.StatusCode.INTERNAL, "There is more than one message.")
            exchange.response = message
            return
        self.receiving.complete(len(data))
        exchange.arrived(message, len(data))

    def _over(self, fields: Fields) -> None:
        code, details = status_of(fields)
        exchange = self._exchange
        self._connection.remove(self)
        exchange.trailing = metadata_of(fields)
        if code is grpc.StatusCode.OK and (not self._splitter.empty or (exchange.single and exchange.response is None)):
            code, details = grpc.StatusCode.INTERNAL, "The answer is not complete."
        self._settle(code, details)

    def _settle(self, code: grpc.StatusCode, details: str) -> None:
        exchange = self._exchange
        if code is _UNAVAILABLE and not self._headed and exchange.channel.again(exchange):
            return
        self._end(code, details)

    def _end(self, code: grpc.StatusCode, details: str) -> None:
        self._exchange.end(code, details)


class CallingConnection(Connection):
    """A connection to a server; `left` is called when no new call can go over it, `freed` when another one can."""

    def __init__(self, left: Callable[["CallingConnection"], None], freed: Callable[[], None]) -> None:
        super().__init__(asyncio.get_running_loop())
        self._left = left
        self._freed = freed
        self._most = frames.LARGEST_WINDOW
        self._next = 1
        self._leaving = False
        self._keepalive: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.begin(PREFACE, {})
        self._keepalive = self.loop.call_later(_KEEPALIVE_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost:
            self._depart()
            if self._keepalive is not None:
                self._keepalive.cancel()
        super().connection_lost(exc)

    def opened(self, stream: int, fields: Fields, *, ended: bool) -> None:
        if stream >= self._next or not stream & 1:
            raise ConnectionFault(Fault.PROTOCOL, "headers of no stream")

    def leaving(self, last: int) -> None:
        self._depart()
        for number, stream in list(self.streams.items()):
            if number > last:
                self._end(stream, Fault.REFUSED_STREAM, "The server is shutting down.")
        if not self.streams:
            self.close()

    @property
    def full(self) -> bool:
        """Whether the server takes no more calls at a time."""
        return len(self.streams) >= self._most

    def limited(self, most: int) -> None:
        self._most = most

    def ended(self) -> None:
        if not self._leaving:
            self._freed()
        elif not self.streams:
            self.close()

    def call(self, exchange: MadeCall, block: bytes) -> None:
        """Make a call, with these header fields."""
        stream = exchange.stream = _CallStream(self, exchange, self._next)
        self._next += 2
        if self._next > frames.LARGEST_WINDOW:
            self._depart()
        self.add(stream)
        head = frames.headers(stream.id, block)
        request = exchange.request
        if request is None:
            self.write(head)
            exchange.writing = self.loop.create_task(self._write(exchange, stream))
        elif self.fits(stream, len(request)):
            self.write(head + self.message(stream, request, END_STREAM))
        else:
            self.write(head)
            exchange.writing = self.loop.create_task(self.send(stream, request, END_STREAM))

    async def _write(self, exchange: MadeCall, stream: Stream) -> None:
        requests = exchange.requests
        assert requests is not None
        try:
            while (message := await requests.read()) is not grpc.aio.EOF:
                data = message if exchange.serialize is None else exchange.serialize(message)
                if len(data) > exchange.channel.most:
                    refusal = larger("Sent", len(data), exchange.channel.most)
                    exchange.end(refusal.code, refusal.details)
                    return
                await self.send(stream, data)
            if self.streams.get(stream.id) is stream:
                self.write(frames.frame(frames.DATA, END_STREAM, stream.id))
        finally:
            if not requests.complete:
                exchange.end(grpc.StatusCode.INTERNAL, "The request can't be sent.")

    def cancel(self) -> None:
        """End the connection, and the calls on it."""
        for stream in list(self.streams.values()):
            assert isinstance(stream, _CallStream)
            stream.cancelled("Channel is closed.")
        self.close()

    def _depart(self) -> None:
        if not self._leaving:
            self._leaving = True
            self._left(self)

    def _look(self) -> None:
        """Ask a server that has said nothing for long whether it is still there, if anybody waits for it."""
        if self.heard or not self.streams:
            self.heard = False
            self._keepalive = self.loop.call_later(_KEEPALIVE_SECONDS, self._look)
            return
        self.write(_PING)
        self._keepalive = self.loop.call_later(_KEEPALIVE_PATIENCE, self._judge)

    def _judge(self) -> None:
        if self.heard:
            self._look()
        else:
            self.transport.abort()
            self.connection_lost(None)
