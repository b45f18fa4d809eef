"""grpcio's channel, with what the current RPC hands on, and its calls, which end with their callers."""

import asyncio
import json
from collections.abc import Callable, Generator, Iterable
from typing import Any, Self

import grpc

from trivet.kernel.call import outgoing
from trivet.kernel.codec.runs import Reader
from trivet.kernel.stream import StreamCall


def open_channel(address: str, idempotent: Iterable[str], max_message_bytes: int) -> "PropagatingChannel":
    """See `kernel.client.connect`."""
    options = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # A peer that vanished without a word is noticed within 40 s instead of hanging until the deadline.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A server that was away for long is back within these seconds, and not after grpcio's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.service_config", json.dumps(_service_config(idempotent))),
    ]
    return PropagatingChannel(grpc.aio.insecure_channel(address, options=options))


def _service_config(idempotent: Iterable[str]) -> dict[str, Any]:
    names = [dict(zip(("service", "method"), name.split("/"), strict=True)) for name in idempotent]
    retry = {
        "maxAttempts": 3,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    return {**config, "methodConfig": [{"name": names, "retryPolicy": retry}]} if names else config


class PropagatingChannel(grpc.aio.Channel):
    """A channel that adds to each call what the current RPC hands on.

    A wrapper and not a client interceptor: grpcio runs those in a task per call, and their streams are a different
    object from the call that is to be cancelled.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _propagating(self._channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        begin = _propagating(self._channel.unary_stream(*args, **kwargs))
        return lambda *args, **kwargs: WireStreamCall(begin(*args, **kwargs))

    def stream_unary(self, method: str, request_serializer: Any = None, *args: Any, **kwargs: Any) -> Any:
        begin = _propagating(self._channel.stream_unary(method, request_serializer, *args, **kwargs))
        return lambda *args, **kwargs: WireUploadCall(begin(*args, **kwargs), request_serializer)

    def stream_stream(self, method: str, request_serializer: Any = None, *args: Any, **kwargs: Any) -> Any:
        begin = _propagating(self._channel.stream_stream(method, request_serializer, *args, **kwargs))
        return lambda *args, **kwargs: WireStreamCall(begin(*args, **kwargs), request_serializer)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _propagating(multicallable: Any) -> Callable[..., Any]:
    def begin(request: Any = None, *, timeout: float | None = None, metadata: Any = None, **kwargs: Any) -> Any:
        timeout, pairs = outgoing(timeout, metadata)
        return multicallable(request, timeout=timeout, metadata=pairs, **kwargs)

    return begin


class _WireCall(grpc.aio.Call):
    """A call of grpcio, as it tells of it.

    `write` and `done_writing` are for requests that are streams, instead of an iterator: with one, a caller who is refused
    before it has said all may be told "Internal error from Core" and not why.
    """

    def __init__(self, call: Any, serialize: Any = None) -> None:
        self._call = call
        self._serialize = serialize

    async def write(self, request: Any) -> None:
        """Send a message of the request, waiting while the servicer is behind.

        Raises:
            asyncio.InvalidStateError: the call has ended, or everything was said before.
        """
        call = self._call
        if call.done():
            raise asyncio.InvalidStateError("The call has ended.")
        await call.wait_for_connection()
        try:
            # Not by `call.write`: where the server has ended the call already, that puts a status of its own in the place of the
            # server's.
            await call._cython_call.send_serialized_message(self._serialize(request))  # noqa: SLF001
        except grpc.aio.InternalError:
            raise asyncio.InvalidStateError("The call has ended.") from None
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def done_writing(self) -> None:
        """Tell the servicer that this was all."""
        await self._call.done_writing()

    def cancel(self) -> bool:
        return bool(self._call.cancel())

    def cancelled(self) -> bool:
        return bool(self._call.cancelled())

    def done(self) -> bool:
        return bool(self._call.done())

    def time_remaining(self) -> Any:
        return self._call.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._call.add_done_callback(lambda _: callback(self))

    async def wait_for_connection(self) -> None:
        await self._call.wait_for_connection()

    async def initial_metadata(self) -> Any:
        return await self._call.initial_metadata()

    async def trailing_metadata(self) -> Any:
        return await self._call.trailing_metadata()

    async def code(self) -> Any:
        return await self._call.code()

    async def details(self) -> Any:
        return await self._call.details()


class WireStreamCall(_WireCall, StreamCall):
    """A stream of grpcio that is cancelled with its reader, always.

    grpcio forgets to when the reader is cancelled while its request is just being sent, and keeps its call object in a
    cycle, so that a dropped stream would run on until the garbage collector finds it.
    """

    async def read(self, reader: Reader | None = None) -> Any:
        """See `StreamCall.read`: nothing is told to a reader but messages."""
        del reader
        try:
            return await self._call.read()
        except asyncio.CancelledError:
            self.cancel()
            raise


class WireUploadCall(_WireCall, grpc.aio.StreamUnaryCall[Any, Any]):
    """Await it for the response to a streaming request."""

    def __await__(self) -> Generator[Any, None, Any]:
        answer: Generator[Any, None, Any] = self._call.__await__()
        return answer
