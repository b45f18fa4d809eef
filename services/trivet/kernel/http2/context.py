"""A call that came over the wire: a stream of a connection, and the context that a servicer's method gets."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from trivet.kernel.codec.runs import Continuation
from trivet.kernel.http2 import frames, hpack
from trivet.kernel.http2.connection import Stream
from trivet.kernel.http2.frames import END_STREAM, Fault
from trivet.kernel.http2.messages import Refused, Splitter, encoded, larger, trailers
from trivet.kernel.http2.receiving import Receiving
from trivet.kernel.inprocess.requests import RequestStream
from trivet.kernel.own_context import OwnContext
from trivet.kernel.rpc import Behaviour, Handler, Metadata, behaviour_of

if TYPE_CHECKING:
    from trivet.kernel.http2.serving import ServingConnection

_ANSWER = hpack.block((":status", "200"), ("content-type", "application/grpc"))
_OK = grpc.StatusCode.OK
_log = logging.getLogger("trivet.wire")


class _Requests(RequestStream):
    """The messages of a streaming request, as they come; what is read makes room for more."""

    __slots__ = ("_parse", "_receiving")

    def __init__(self, parse: Callable[[bytes], Any] | None, receiving: Receiving) -> None:
        super().__init__()
        self._parse = parse
        self._receiving = receiving

    def put(self, message: bytes) -> None:
        self._receiving.complete(len(message))
        self._messages.append(message)
        self._moved.notify()

    async def read(self) -> Any:
        message = await super().read()
        if message is grpc.aio.EOF:
            return message
        self._receiving.read(len(message))
        return message if self._parse is None else self._parse(message)


class ServedCall(Stream, OwnContext):
    """Everything of `grpc.aio.ServicerContext` that means something to us, and the state of the call."""

    def __init__(self, connection: "ServingConnection", number: int, handler: Handler) -> None:
        Stream.__init__(self, number)
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self._handler = handler
        self._serialize = handler.response_serializer
        self._metadata: Metadata = ()
        self._deadline: float | None = None
        self._splitter = Splitter(connection.most)
        self._receiving = Receiving(connection, number, connection.most)
        self._requests: _Requests | None = None
        self._message: bytes | None = None
        self._complete = False
        self._ended = False
        self._cancelled = False
        self._head: bytes | None = b""
        """What of the initial metadata is still to be sent; None once they were."""
        self._trailing: Metadata = ()
        self._continuation = Continuation()

    # What comes.

    def start(self, metadata: Metadata, encoding: str, timeout: float | None) -> None:
        """The call is known; it is answered at once if its request is a stream, else when that is here."""
        self._metadata = metadata
        if encoding:
            self._splitter = Splitter(self._connection.most, encoding)
        if timeout is not None:
            self._deadline = self._connection.loop.time() + timeout
        if self._handler.request_streaming:
            self._requests = _Requests(self._handler.request_deserializer, self._receiving)
            self._run(self._requests)

    def headers(self, fields: hpack.Fields, *, ended: bool) -> None:
        # A request has no trailers in gRPC; what matters of them is that they are the end.
        if ended:
            self._complete_request()

    def data(self, data: bytes, *, ended: bool) -> None:
        if self._ended or self._complete:
            return
        self._receiving.came(len(data))
        try:
            self._splitter.feed(data, self._take if self._requests is None else self._requests.put)
        except Refused as refusal:
            self.refuse(refusal)
            return
        if ended:
            self._complete_request()
        else:
            self._receiving.settle()

    def broken(self, fault: Fault, text: str) -> None:
        """The caller has left."""
        del fault, text
        self._cancelled = True
        self._close()
        if self.task is not None:
            self.task.cancel()

    def refuse(self, refusal: Refused) -> None:
        """End the call before its method, or in the middle of its request."""
        if not self._ended:
            self._finish(refusal.code, refusal.details)
            if self.task is not None:
                self.task.cancel()

    def _take(self, message: bytes) -> None:
        if self._message is not None:
            raise Refused(grpc.StatusCode.INTERNAL, "There is more than one message.")
        self._message = message

    def _complete_request(self) -> None:
        self._complete = True
        if not self._splitter.empty:
            self.refuse(Refused(grpc.StatusCode.INTERNAL, "The request ends within a message."))
        elif self._requests is not None:
            self._requests.finish()
        elif self._message is None:
            self.refuse(Refused(grpc.StatusCode.INTERNAL, "There is no message."))
        else:
            self._run(self._message)

    # The method.

    def _run(self, request: Any) -> None:
        connection = self._connection
        self._message = None
        self.task = connection.loop.create_task(
            self._serve(behaviour_of(self._handler), request), context=connection.context.copy()
        )

    async def _serve(self, run: Behaviour, request: Any) -> None:
        try:
            answer = await run(request, self)
            if not self._ended:
                self._answer(answer)
        except (grpc.aio.AbortError, grpc.aio.InternalError):
            pass  # the call has ended
        except asyncio.CancelledError:
            self._finish(grpc.StatusCode.CANCELLED, "The server cancelled the call.")
            raise
        finally:
            self._finish(grpc.StatusCode.UNKNOWN, "The handler failed.")
            self.task = None
            for callback in self._callbacks:
                callback(self)

    def _answer(self, answer: Any) -> None:
        code = self._code or _OK
        if self._handler.response_streaming or code is not _OK:
            self._finish(code, self._details)
            return
        data = self._serialized(answer)
        connection = self._connection
        if not connection.fits(self, len(data)):
            # It takes its time, beside which the stream counts as running: a stop waits for it.
            self._head_sent()
            sending = connection.loop.create_task(self._send_rest(data))
            connection.sending.add(sending)
            sending.add_done_callback(connection.sending.discard)
            self._close(keep=True)
            return
        head = frames.headers(self.id, _ANSWER + (self._head or b"")) if self._head is not None else b""
        self._head = None
        end = frames.headers(self.id, self._status(code, self._details), END_STREAM)
        connection.write(head + connection.message(self, data) + end + self._rest_of_request())
        self._close()

    async def _send_rest(self, data: bytes) -> None:
        await self._connection.send(self, data)
        if self._connection.streams.get(self.id) is self:
            end = frames.headers(self.id, self._status(self._code or _OK, self._details), END_STREAM)
            self._connection.write(end + self._rest_of_request())
            self._connection.remove(self)

    def _finish(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with a status, once."""
        if self._ended:
            return
        self._code, self._details = code, details
        block = self._status(code, details)
        if self._head is not None:
            block = _ANSWER + self._head + block
        self._connection.write(frames.headers(self.id, block, END_STREAM) + self._rest_of_request())
        self._close()

    def _status(self, code: grpc.StatusCode, details: str) -> bytes:
        try:
            return trailers(code, details, self._trailing)
        except ValueError:
            _log.exception("what a servicer has set as trailing metadata can't be sent")
            return trailers(grpc.StatusCode.INTERNAL, "The trailing metadata can't be sent.", ())

    def _rest_of_request(self) -> bytes:
        """What tells the caller not to go on."""
        return b"" if self._complete else frames.reset(self.id, Fault.NONE)

    def _close(self, *, keep: bool = False) -> None:
        self._ended = True
        if not keep:
            self._connection.remove(self)
        if self._requests is not None:
            self._requests.end()

    def _serialized(self, message: Any) -> bytes:
        data: bytes = message if self._serialize is None else self._serialize(message)
        if len(data) > self._connection.most:
            refusal = larger("Sent", len(data), self._connection.most)
            self._finish(refusal.code, refusal.details)
            raise grpc.aio.InternalError(refusal.details)
        return data

    def _head_sent(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            self._connection.write(frames.headers(self.id, _ANSWER + head))

    # What servicers use.

    async def write(self, message: Any) -> None:
        if self._ended:
            raise grpc.aio.InternalError("The call has ended: nobody reads this message.")
        data = self._serialized(message)
        self._continuation.follow(message)
        connection = self._connection
        head, self._head = self._head, None
        first = b"" if head is None else frames.headers(self.id, _ANSWER + head)
        if connection.fits(self, len(data)):
            connection.write(first + connection.message(self, data))
            return
        if first:
            connection.write(first)
        await connection.send(self, data)
        if self._ended:
            raise grpc.aio.InternalError("The call has ended: nobody reads this message.")

    def more(self, texts: list[str]) -> bool:
        """See `More`: they get a message all the same, but one that nobody else has to make, and no turn of the loop."""
        if self._ended or self._head is not None or self._serialize is None:
            return False
        message = self._continuation.message(texts)
        if message is None:
            return False
        connection, data = self._connection, self._serialize(message)
        if len(data) > connection.most or not connection.fits(self, len(data)):
            return False
        self._continuation.passed(len(texts))
        connection.write(connection.message(self, data))
        return True

    async def read(self) -> Any:
        if self._requests is None:
            raise grpc.aio.UsageError("The request is not a stream.")
        return await self._requests.read()

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[Any] = ()) -> NoReturn:
        if code is _OK:
            raise grpc.aio.UsageError("OK is no status to abort with.")
        self._trailing = tuple(trailing_metadata) or self._trailing
        self._finish(code, details)
        raise grpc.aio.AbortError("Locally aborted.")

    async def send_initial_metadata(self, initial_metadata: Iterable[Any]) -> None:
        if self._head is None or self._ended:
            raise grpc.aio.UsageError("The initial metadata has been sent.")
        self._head = encoded(initial_metadata)
        self._head_sent()

    def set_trailing_metadata(self, trailing_metadata: Iterable[Any]) -> None:
        self._trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Any:
        return self._trailing

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> Any:
        return None if self._deadline is None else max(0.0, self._deadline - self._connection.loop.time())

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        return self._ended

    def peer(self) -> str:
        return self._connection.peer
