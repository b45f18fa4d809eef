"""Writes a server-streaming RPC as server-sent events."""

import asyncio
from typing import Any, Protocol

import grpc
import orjson
from aiohttp import web
from google.protobuf.message import Message

from trivet.bridge import headers
from trivet.bridge.interruption import interruption
from trivet.bridge.numbering import Numbering
from trivet.bridge.settings import BridgeSettings
from trivet.kernel.catalogue import error_body, from_rpc_error
from trivet.kernel.codec.sse import StreamCodec
from trivet.kernel.errors import ServiceError

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would collect the events
}
_HEARTBEAT = b": keep-alive\n\n"


class StreamCall(Protocol):
    """What is used of a running server-streaming RPC."""

    async def read(self) -> Any: ...
    def cancel(self) -> bool: ...
    async def initial_metadata(self) -> Any: ...


class Events:
    """The events of a running RPC, as bytes to write; `seen` is the number of the last event that the client has already."""

    def __init__(self, call: StreamCall, codec: StreamCodec, seen: int = -1) -> None:
        self.call = call
        self._codec = codec
        self._stream = codec.open()
        self._numbering = Numbering(codec, seen)

    async def next(self) -> bytes | None:
        """The events of the next message; None when there are no more. Raises AioRpcError."""
        batch = await self.call.read()
        if not isinstance(batch, Message):
            return None
        self._numbering.passed(getattr(batch, self._codec.events_name))
        return self._stream.frames(batch)

    def failure(self, error: ServiceError) -> bytes:
        """The event that tells of an error in the middle of the stream, in the dialect of the stream."""
        if not self._codec.discriminator:
            return b"data: " + orjson.dumps(error_body(error)[1]) + b"\n\n"
        return b"event: error\ndata: " + orjson.dumps(self._numbering.failure(error)) + b"\n\n"

    @property
    def end(self) -> bytes:
        """What the stream ends with."""
        return self._stream.end


async def respond(request: web.Request, events: Events, settings: BridgeSettings) -> web.StreamResponse:
    """Write a stream to its end.

    The first events are awaited before headers are sent, so that an early failure is raised and keeps its HTTP status;
    only a stream that is silent for very long is begun without them, lest something on the way gives it up.
    """
    first = asyncio.ensure_future(events.next())
    try:
        await asyncio.wait({first}, timeout=settings.first_event_seconds)
        if first.done():
            first.result()
        told = headers.told(await events.call.initial_metadata()) if first.done() else {}
        response = web.StreamResponse(headers=_HEADERS | told)
        await response.prepare(request)
        await _write_all(request, response, first, events, settings.heartbeat_seconds)
    except ConnectionResetError:
        # The client left between two reads; aiohttp tells by cancelling only who waits for something else.
        raise asyncio.CancelledError from None
    finally:
        first.cancel()
        events.call.cancel()
    return response


async def _write_all(
    request: web.Request,
    response: web.StreamResponse,
    first: "asyncio.Future[bytes | None]",
    events: Events,
    heartbeat_seconds: float,
) -> None:
    beating = asyncio.create_task(_Heart(response, heartbeat_seconds).beat())
    try:
        frames = await first
        while frames is not None:
            if frames:
                await response.write(frames)
            frames = await events.next()
    except grpc.aio.AioRpcError as error:
        await response.write(events.failure(from_rpc_error(error)))
    except asyncio.CancelledError:
        if (interrupted := interruption(request)) is None:
            raise
        await response.write(events.failure(interrupted))
    finally:
        beating.cancel()
    if events.end:
        await response.write(events.end)
    await response.write_eof()


class _Heart:
    """Writes a comment into a stream whenever nothing was written for a while."""

    def __init__(self, response: web.StreamResponse, seconds: float) -> None:
        self._response = response
        self._seconds = seconds

    async def beat(self) -> None:
        written = self._response.body_length
        while True:
            await asyncio.sleep(self._seconds)
            if self._response.body_length == written:
                await self._response.write(_HEARTBEAT)
            written = self._response.body_length
