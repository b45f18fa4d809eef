"""The caller's end of a call in process, or over our own HTTP/2, shaped like the call objects of grpc.aio."""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from functools import partial
from typing import Any

import grpc

from trivet.kernel.codec.runs import Reader
from trivet.kernel.inprocess.exchange import Exchange
from trivet.kernel.inprocess.requests import RequestStream
from trivet.kernel.rpc import Metadata
from trivet.kernel.stream import StreamCall

_OK = grpc.StatusCode.OK
_CANCELLED = "Locally cancelled by application!"
_DROPPED = "Cancelled upon garbage collection!"

Requests = AsyncIterable[Any] | Iterable[Any]

_log = logging.getLogger("trivet.inprocess")


class OwnCall(grpc.aio.Call):
    """What unary and streaming calls have in common.

    The handler does not know this object, so dropping it, as leaving an iteration does, cancels the handler.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __del__(self) -> None:
        exchange = self._exchange
        if exchange.code is None or exchange.messages:
            exchange.cancel(_DROPPED)

    def cancel(self) -> bool:
        return self._exchange.cancel(_CANCELLED)

    def cancelled(self) -> bool:
        return self._exchange.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        exchange = self._exchange
        return exchange.code is not None and not exchange.messages

    def time_remaining(self) -> float | None:
        return self._exchange.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.done():
            callback(self)
        else:
            self._exchange.callbacks.append(partial(callback, self))

    async def wait_for_connection(self) -> None:
        """Return at once: there is nothing to connect to."""

    async def initial_metadata(self) -> grpc.aio.Metadata:
        exchange = self._exchange
        while exchange.initial is None and exchange.code is None:
            await exchange.changed.wait()
        return grpc.aio.Metadata.from_tuple(self.initial_pairs)

    @property
    def initial_pairs(self) -> Metadata:
        """The initial metadata, of which there are no more once a message has come, or the end.

        To make an object of gRPC's of them takes longer than most of what is done with it.
        """
        return self._exchange.initial or ()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        await self._exchange.ended()
        return grpc.aio.Metadata.from_tuple(self._exchange.trailing)

    async def code(self) -> grpc.StatusCode:
        await self._exchange.ended()
        return self._exchange.code or grpc.StatusCode.UNKNOWN

    async def details(self) -> str:
        await self._exchange.ended()
        return self._exchange.details

    async def debug_error_string(self) -> str:
        return await self.details()

    def _raise_for_status(self) -> None:
        exchange = self._exchange
        if exchange.locally_cancelled:
            raise asyncio.CancelledError
        if exchange.code is not None and exchange.code is not _OK:
            raise grpc.aio.AioRpcError(
                exchange.code,
                grpc.aio.Metadata.from_tuple(exchange.initial or ()),
                grpc.aio.Metadata.from_tuple(exchange.trailing),
                details=exchange.details,
            )


class OwnUnaryCall(OwnCall, grpc.aio.UnaryUnaryCall[Any, Any]):
    """Await it for the response."""

    def __await__(self) -> Generator[Any, None, Any]:
        exchange = self._exchange
        yield from exchange.drive()
        try:
            while exchange.code is None:
                yield from exchange.changed.next()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if exchange.locally_cancelled or exchange.code is not _OK:
            self._raise_for_status()
        return exchange.response


class OwnStreamCall(OwnCall, StreamCall):
    """Delivers the messages as the handler wrote them."""

    async def __anext__(self) -> Any:
        if messages := self._exchange.messages:
            return self._exchange.take(messages)
        return await super().__anext__()

    async def read(self, reader: Reader | None = None) -> Any:
        """See `StreamCall.read`."""
        exchange = self._exchange
        try:
            while not (messages := exchange.messages):
                if exchange.code is not None:
                    if exchange.locally_cancelled or exchange.code is not _OK:
                        self._raise_for_status()
                    return grpc.aio.EOF
                exchange.reader = reader
                try:
                    await exchange.changed.next()
                finally:
                    exchange.reader = None
        except asyncio.CancelledError:
            self.cancel()
            raise
        return exchange.take(messages)


class _Writing(OwnCall):
    """What calls with a streaming request have in common: `write` and `done_writing`, where no iterator was given."""

    async def write(self, request: Any) -> None:
        """Hand a message to the handler, waiting while it is behind.

        Raises:
            asyncio.InvalidStateError: the call has ended, or everything was said before.
        """
        stream = _stream_of(self._exchange)
        if stream.complete or not await stream.write(request):
            raise asyncio.InvalidStateError("The call has ended, or its request has.")

    async def done_writing(self) -> None:
        """Tell the handler that this was all."""
        _stream_of(self._exchange).finish()


class OwnUploadCall(_Writing, OwnUnaryCall, grpc.aio.StreamUnaryCall[Any, Any]):
    """Await it for the response to a streaming request."""


class OwnDuplexCall(_Writing, OwnStreamCall, grpc.aio.StreamStreamCall[Any, Any]):
    """Delivers the messages that answer a streaming request."""


async def initial_pairs(call: Any) -> Iterable[tuple[str, str | bytes]]:
    """The initial metadata of a call that has answered, in process or over the wire."""
    own: Metadata | None = getattr(call, "initial_pairs", None)
    given: Iterable[tuple[str, str | bytes]] = await call.initial_metadata() if own is None else own
    return given


def feed(exchange: Exchange, requests: Requests) -> None:
    """Hand all of `requests` to the handler as the call goes on; an iterator that raises cancels the call, as grpcio has it."""

    def fed(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.debug("the iterator of a request failed", exc_info=failure)
            exchange.cancel(_CANCELLED)

    # The task does not know the call object, or dropping that would not end the call.
    task = asyncio.get_running_loop().create_task(_feed(_stream_of(exchange), requests))
    task.add_done_callback(fed)
    exchange.callbacks.append(partial(_stop, task))


async def _feed(stream: RequestStream, requests: Requests) -> None:
    async for request in requests if isinstance(requests, AsyncIterable) else _one_by_one(requests):
        if not await stream.write(request):
            return
    stream.finish()


async def _one_by_one(requests: Iterable[Any]) -> AsyncIterator[Any]:
    for request in requests:
        yield request


def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()


def _stream_of(exchange: Exchange) -> RequestStream:
    if exchange.requests is None:
        raise grpc.aio.UsageError("The request is not a stream.")
    return exchange.requests
