"""Writes a server-streaming RPC as server-sent events."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Protocol

import grpc
import orjson
from google.protobuf.message import Message

from trivet.bridge import headers
from trivet.bridge.interruption import interruption
from trivet.bridge.numbering import Numbering
from trivet.bridge.request import Request
from trivet.bridge.settings import BridgeSettings
from trivet.bridge.written import Streamed
from trivet.kernel.catalogue import error_body, from_rpc_error
from trivet.kernel.codec.runs import Reader
from trivet.kernel.codec.sse import StreamCodec
from trivet.kernel.errors import ServiceError
from trivet.kernel.inprocess.calls import initial_pairs

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would collect the events
}
_HEARTBEAT = b": keep-alive\n\n"


class StreamCall(Protocol):
    """What is used of a running server-streaming RPC."""

    async def read(self, reader: Reader | None = None) -> Any: ...
    def cancel(self) -> bool: ...
    def done(self) -> bool: ...
    async def initial_metadata(self) -> Any: ...


class Events:
    """The events of a running RPC, as bytes to write; `seen` is the number of the last event that the client has already."""

    def __init__(self, call: StreamCall, codec: StreamCodec, seen: int = -1) -> None:
        self.call = call
        self._codec = codec
        self._stream = stream = codec.open()
        self._seen = seen
        self.frames = stream.frames
        self.more = stream.more
        self.of_run = stream.of_run
        self.end = codec.end

    def failure(self, error: ServiceError) -> bytes:
        """The event that tells of an error in the middle of the stream, in the dialect of the stream."""
        # Only events that have names have numbers.
        if not self._codec.discriminator:
            return b"data: " + orjson.dumps(error_body(error)[1]) + b"\n\n"
        numbering = Numbering(self._codec, self._seen)
        numbering.passed(self._stream.count, self._stream.last, self._stream.after_last)
        return b"event: error\ndata: " + orjson.dumps(numbering.failure(error)) + b"\n\n"


def respond(request: Request, events: Events, settings: BridgeSettings) -> Awaitable[Streamed]:
    """Write a stream to its end.

    The first events are awaited before headers are sent, so that an early failure is raised and keeps its HTTP status;
    only a stream that is silent for very long is begun without them, lest something on the way gives it up.
    """
    return _Writing(request, events, settings).run()


class _Writing:
    """One stream on its way to the client.

    A timer looks whether it is silent for too long; only what is to be done then has a task.
    """

    __slots__ = (
        "_events",
        "_heartbeat_seconds",
        "_held",
        "_loop",
        "_meanwhile",
        "_request",
        "_response",
        "_timer",
        "_written_at",
    )

    def __init__(self, request: Request, events: Events, settings: BridgeSettings) -> None:
        self._request = request
        self._events = events
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(settings.first_event_seconds, self._begin_silently)
        self._meanwhile: asyncio.Task[None] | None = None
        self._response: Streamed | None = None
        self._written_at = 0.0
        self._held = b""

    async def run(self) -> Streamed:
        """Write it all. Raises what goes wrong before anything was written."""
        events, last = self._events, b""
        call, frames_of = events.call, events.frames
        try:
            try:
                message = await call.read()
                self._timer.cancel()
                response = self._response or self._begin(headers.told(await initial_pairs(call)))
                while isinstance(message, Message):
                    frames = frames_of(message)
                    if call.done():
                        # What is known to be the last of it leaves in one write with the end.
                        self._held += frames
                    elif response.write(frames):
                        await response.drained()
                    self._written_at = self._loop.time()
                    message = await call.read(self)
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                response, last = self._broken(error)
            if response.end(self._held + last + events.end):
                await response.drained()
        except ConnectionResetError:
            # The client left between two reads; aiohttp tells by cancelling only who waits for something else.
            raise asyncio.CancelledError from None
        finally:
            self._timer.cancel()
            if self._meanwhile is not None:
                self._meanwhile.cancel()
        return response

    def _broken(self, error: grpc.aio.AioRpcError | asyncio.CancelledError) -> tuple[Streamed, bytes]:
        """What a stream ends with that breaks off. Raises the error where nothing was written, or nobody is there to be told."""
        told = from_rpc_error(error) if isinstance(error, grpc.aio.AioRpcError) else interruption(self._request)
        if self._response is None or told is None:
            raise error
        return self._response, self._events.failure(told)

    def more(self, texts: list[str]) -> bool:
        """See `Reader.more`."""
        response = self._response
        if response is None or not response.write_at_once(self._events.more, texts):
            return False
        self._written_at = self._loop.time()
        return True

    def message(self, message: Any) -> bool:
        """See `Reader.message`."""
        response = self._response
        if response is None or not response.write_at_once(self._events.of_run, message):
            return False
        self._written_at = self._loop.time()
        return True

    def _begin(self, told: dict[str, str]) -> Streamed:
        self._response = response = Streamed(self._request, {**_HEADERS, **told, **self._request.marks})
        self._written_at = now = self._loop.time()
        self._timer = self._loop.call_at(now + self._heartbeat_seconds, self._look)
        return response

    def _begin_silently(self) -> None:
        with suppress(ConnectionResetError):
            self._begin({}).write(b"")

    def _look(self) -> None:
        """Write a comment if nothing was written for a while."""
        silent = self._loop.time() - self._written_at
        if silent >= self._heartbeat_seconds:
            silent = 0.0
            # One that does not get away is a client's that takes nothing.
            if self._meanwhile is None or self._meanwhile.done():
                self._meanwhile = self._loop.create_task(self._beat())
        self._timer = self._loop.call_later(self._heartbeat_seconds - silent, self._look)

    async def _beat(self) -> None:
        response = self._response
        with suppress(ConnectionResetError):
            self._written_at = self._loop.time()
            if response is not None and response.write(_HEARTBEAT):
                await response.drained()
