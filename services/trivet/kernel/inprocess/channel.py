"""The in-process channel: generated stubs call servicers of the same process through it."""

import asyncio
from collections.abc import Iterable
from contextvars import Context, copy_context
from typing import Any

import grpc

from trivet.kernel.call import current_call, outgoing
from trivet.kernel.inprocess.calls import (
    OwnDuplexCall,
    OwnStreamCall,
    OwnUnaryCall,
    OwnUploadCall,
    Requests,
    feed,
)
from trivet.kernel.inprocess.context import metadata_of, serve
from trivet.kernel.inprocess.exchange import Exchange
from trivet.kernel.inprocess.face_call import FaceCall
from trivet.kernel.inprocess.requests import RequestStream
from trivet.kernel.methods import Methods
from trivet.kernel.rpc import Metadata
from trivet.kernel.wakeup import Wakeup

_State = grpc.ChannelConnectivity


class InProcessChannel(grpc.aio.Channel):
    """A `grpc.aio.Channel` whose other end is `methods`, with the same chain around them as over the wire.

    Status, metadata, deadlines, cancellation and flow control are gRPC's. What differs: the message object itself is handed
    over, so neither side may change it once it is sent.

    Handlers run in the context variables of this object's maker, not in those of the caller.
    """

    def __init__(self, methods: Methods) -> None:
        self._methods = methods
        self._context: Context = copy_context()
        self._state = _State.READY
        self._state_changed = Wakeup()
        self._draining = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def unary_unary(self, method: str, *_: Any, **__: Any) -> "_UnaryUnary":
        return _UnaryUnary(self, method)

    def unary_stream(self, method: str, *_: Any, **__: Any) -> "_UnaryStream":
        return _UnaryStream(self, method)

    def stream_unary(self, method: str, *_: Any, **__: Any) -> "_StreamUnary":
        return _StreamUnary(self, method)

    def stream_stream(self, method: str, *_: Any, **__: Any) -> "_StreamStream":
        return _StreamStream(self, method)

    def drain(self) -> None:
        """Refuse new calls, except those that a running RPC still needs to end well."""
        self._draining = True

    async def close(self, grace: float | None = None) -> None:
        """Refuse all new calls; running ones are their callers' to cancel, or the server's to drain."""
        self._state = _State.SHUTDOWN
        self._state_changed.notify()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        while self._state is last_observed_state:
            await self._state_changed.wait()

    async def channel_ready(self) -> None:
        """Return at once: there is nothing to connect to."""

    def _bound(self) -> asyncio.AbstractEventLoop:
        """The loop of this channel, which is that of its first call."""
        self._loop = asyncio.get_running_loop()
        return self._loop

    async def __aenter__(self) -> "InProcessChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def begin(
        self,
        method: str,
        request: Any,
        timeout: float | None,
        metadata: Iterable[tuple[str, str | bytes]] | None,
        *,
        principal: str | None = None,
        driven: bool = False,
    ) -> Exchange:
        """Start a call of `method`; a `RequestStream` is a request that is still to come.

        `principal` is the name of the key that the call is made with, where the caller has just judged it: it is not judged again.
        `driven`: its reader will do nothing else than wait for the answer, and may drive the handler.

        Raises:
            grpc.aio.UsageError: the channel is closed.
        """
        if self._state is _State.SHUTDOWN:
            raise grpc.aio.UsageError("Channel is closed.")
        inherits = timeout is None
        pairs = () if metadata is None else metadata_of(metadata)
        parent = current_call.get()
        if parent is not None:
            timeout, pairs = outgoing(timeout, pairs)
        stream = request if isinstance(request, RequestStream) else None
        # A deadline is told to the reader when it is over, however long the handler takes to clean up. Where it is that of a running
        # call, it is the reader of that who is told; and in its own task it ends the handler, too, so there is no timer for this call.
        driven = driven and (timeout is None or (inherits and parent is not None and parent.task is not None))
        if driven and parent is not None and parent.task is asyncio.current_task():
            timeout = None
        exchange = Exchange(self._loop or self._bound(), pairs, timeout, parent, stream)
        if self._draining and parent is None:
            exchange.end(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
            return exchange
        behaviour = self._methods.behaviours.get(method) or self._methods.behaviour(method)
        handler, context = serve(behaviour, request, exchange, principal), self._context.copy()
        if driven:
            exchange.deadline = None if parent is None else parent.deadline
            exchange.hand_over(handler, context)
        else:
            exchange.run(handler, context)
        return exchange

    def face_call(
        self, method: str, request: Any, metadata: Metadata, principal: str | None, accepts_rendered: bool
    ) -> FaceCall | None:
        """The short way; None where there is more to a call: it belongs to another one, or has to be refused."""
        if self._state is _State.SHUTDOWN or self._draining or current_call.get() is not None:
            return None
        run = self._methods.behaviours.get(method) or self._methods.behaviour(method)
        variables = self._context.copy()
        return FaceCall(run, request, metadata, variables, principal=principal, accepts_rendered=accepts_rendered)


class _UnaryUnary(grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    def __init__(self, channel: InProcessChannel, method: str) -> None:
        self._channel = channel
        self._method = method

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] | None = None,
        **_: Any,
    ) -> OwnUnaryCall:
        return OwnUnaryCall(self._channel.begin(self._method, request, timeout, metadata, driven=True))

    def for_face(
        self, request: Any, timeout: float | None, metadata: Metadata, principal: str | None, accepts_rendered: bool
    ) -> OwnUnaryCall | FaceCall:
        """The call, made for the `principal` whose key was judged just now, and to be awaited at once; where that is accepted, its answer
        may be `Rendered`. The names of the metadata are in lower case.
        """
        short = self._channel.face_call(self._method, request, metadata, principal, accepts_rendered) if timeout is None else None
        return short or OwnUnaryCall(
            self._channel.begin(self._method, request, timeout, metadata, principal=principal, driven=True)
        )


class _UnaryStream(grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    def __init__(self, channel: InProcessChannel, method: str) -> None:
        self._channel = channel
        self._method = method

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] | None = None,
        **_: Any,
    ) -> OwnStreamCall:
        return OwnStreamCall(self._channel.begin(self._method, request, timeout, metadata))

    def for_face(self, request: Any, timeout: float | None, metadata: Metadata, principal: str | None, _: bool) -> OwnStreamCall:
        """As that of `_UnaryUnary`, but for what concerns its one answer."""
        return OwnStreamCall(self._channel.begin(self._method, request, timeout, metadata, principal=principal))


class _StreamUnary(grpc.aio.StreamUnaryMultiCallable[Any, Any]):
    def __init__(self, channel: InProcessChannel, method: str) -> None:
        self._channel = channel
        self._method = method

    def __call__(
        self,
        request_iterator: Requests | None = None,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] | None = None,
        *_: Any,
        **__: Any,
    ) -> OwnUploadCall:
        return OwnUploadCall(_begin_fed(self._channel, self._method, request_iterator, timeout, metadata))


class _StreamStream(grpc.aio.StreamStreamMultiCallable[Any, Any]):
    def __init__(self, channel: InProcessChannel, method: str) -> None:
        self._channel = channel
        self._method = method

    def __call__(
        self,
        request_iterator: Requests | None = None,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] | None = None,
        *_: Any,
        **__: Any,
    ) -> OwnDuplexCall:
        return OwnDuplexCall(_begin_fed(self._channel, self._method, request_iterator, timeout, metadata))


def _begin_fed(
    channel: InProcessChannel,
    method: str,
    requests: Requests | None,
    timeout: float | None,
    metadata: Iterable[tuple[str, str | bytes]] | None,
) -> Exchange:
    """A call whose request is written to it, or what is in `requests`."""
    exchange = channel.begin(method, RequestStream(), timeout, metadata)
    if requests is not None:
        feed(exchange, requests)
    return exchange
