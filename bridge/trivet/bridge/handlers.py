"""Serves a route: reads the request, makes the RPC, writes the answer as JSON, as server-sent events or as it is."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final
from weakref import WeakSet

import grpc
from aiohttp import web
from google.protobuf.message import Message

from trivet.bridge import binary, headers, sse
from trivet.bridge.contract import Operation, Route, Rpc
from trivet.bridge.numbering import seen_before
from trivet.bridge.settings import BridgeSettings
from trivet.bridge.uploads import Upload, holding
from trivet.kernel.auth import KeyRing
from trivet.kernel.codec import text
from trivet.kernel.codec.runs import ACCEPTED
from trivet.kernel.codec.sse import stream_codec
from trivet.kernel.errors import InvalidKey, InvalidRequest, RequestTimeout, UnsupportedMediaType

REQUEST_ID: Final = web.RequestKey("request_id", str)
PRINCIPAL: Final = web.RequestKey("principal", str)


_MODELS: Final = frozenset(f"trivet.model.v1.{name}Service" for name in ("Model", "Message", "Audio"))
"""Services that hold to `x-trivet-request-timeout` themselves: there it bounds each attempt at a model, not the whole call."""

_WITHOUT_MODEL: Final = frozenset(
    {"GetResponse", "FollowResponse", "CancelResponse", "DeleteResponse", "ListInputItems", "ListModels", "GetModel"}
)
"""Their operations that ask no model."""


class Gateway:
    """The RPCs behind the routes; `channels` has a channel for each service's full name.

    `passed` are names of headers, in lower case, that travel on besides those of the contract.
    """

    def __init__(
        self, channels: Mapping[str, grpc.aio.Channel], keys: KeyRing, settings: BridgeSettings, passed: Collection[str] = ()
    ) -> None:
        self._passed = passed
        self._channels = channels
        self._keys = keys
        self._settings = settings
        self._callables: dict[str, Callable[..., Any]] = {}
        self._calls: WeakSet[grpc.aio.Call] = WeakSet()

    def apply(self, settings: BridgeSettings, passed: Collection[str]) -> None:
        """Serve requests that come from now on by these settings."""
        self._settings, self._passed = settings, passed

    def interrupt(self) -> None:
        """Cancel the running calls; their requests are answered with the error that `interruption` tells."""
        for call in list(self._calls):
            call.cancel()

    async def serve(self, route: Route, request: web.Request) -> web.StreamResponse:
        """Answer a request to `route`. Raises ServiceError, or what the RPC raises, before anything was written."""
        sent = self.admit(request)
        if route.form is not None:
            with holding() as held:
                upload = Upload(route.form, request, self._settings, held)
                return await self._uploaded(route, request, upload, sent)
        # Where a route reads no body, whatever came as one means nothing.
        given = await _body(request, self._settings.body_seconds) if route.reads_body else {}
        operation = route.operation(given)
        if not route.reads_body:
            given = operation.query_codec.decode(request.query.items())
        _bind_path(request.match_info, given)
        message = operation.request_codec.decode(given, strict=True)
        if operation.stream is not None and _wants_stream(given, operation):
            return await self._stream(request, operation.stream, message, sent)
        if operation.whole.descriptor.server_streaming:
            return await binary.respond(request, self.call(operation.whole, message, sent))
        return await _whole(operation.whole, self.call(operation.whole, message, sent))

    def admit(self, request: web.Request) -> headers.Metadata:
        """Judge the key of a request, and give what travels on with its calls.

        To be called before the body is read: what a stranger sends is not parsed. The service judges the key again.
        Raises MissingKey, InvalidKey or InvalidRequest.
        """
        key = headers.bearer(request.headers)
        principal = self._keys.principal(key)
        if principal is None:
            raise InvalidKey
        request[PRINCIPAL] = principal
        return headers.metadata(request.headers, key, request[REQUEST_ID], self._passed)

    def call(self, rpc: Rpc, message: Message | None, sent: headers.Metadata) -> Any:
        """The running call of an RPC, without a message where that is a stream to be written; `interrupt` cancels it."""
        timeout = headers.timeout(sent)
        is_within = rpc.service in _MODELS and rpc.descriptor.name not in _WITHOUT_MODEL
        call = self._callable(rpc)(message, metadata=sent, timeout=None if is_within else timeout)
        self._calls.add(call)
        return call

    async def _stream(self, request: web.Request, rpc: Rpc, message: Message, sent: headers.Metadata) -> web.StreamResponse:
        events = sse.Events(self.call(rpc, message, (*sent, ACCEPTED)), stream_codec(rpc.descriptor), seen_before(message))
        return await sse.respond(request, events, self._settings)

    async def _uploaded(self, route: Route, request: web.Request, upload: Upload, sent: headers.Metadata) -> web.StreamResponse:
        given = await upload.fields()
        operation = route.operation(given)
        first = upload.first(operation, given)
        twin = operation.stream if _wants_stream(given, operation) else None
        call = self.call(twin or operation.whole, None, sent)
        # Beside the answer, which may come before the file has: an upstream need not hear all of it to refuse.
        feeding = asyncio.ensure_future(upload.feed(call, operation, first))
        try:
            if twin is not None:
                return await sse.respond(request, sse.Events(call, stream_codec(twin.descriptor)), self._settings)
            return await _whole(operation.whole, call)
        except asyncio.CancelledError:
            if upload.failure is None:
                raise
            raise upload.failure from None
        finally:
            call.cancel()
            # Nobody may read on when the server reads what is left of the request.
            feeding.cancel()
            await asyncio.wait([feeding])

    def _callable(self, rpc: Rpc) -> Callable[..., Any]:
        if rpc.path not in self._callables:
            channel = self._channels[rpc.service]
            makers = {
                (False, False): channel.unary_unary,
                (False, True): channel.unary_stream,
                (True, False): channel.stream_unary,
                (True, True): channel.stream_stream,
            }
            make: Callable[..., Any] = makers[rpc.descriptor.client_streaming, rpc.descriptor.server_streaming]
            self._callables[rpc.path] = make(rpc.path, request_serializer=rpc.serialize, response_deserializer=rpc.parse_response)
        return self._callables[rpc.path]


async def _whole(rpc: Rpc, call: Any) -> web.Response:
    begun = time.perf_counter()
    answer = await call
    told = headers.told(await call.initial_metadata())
    if (body := rpc.body_of(answer)) is not None:
        response = binary.whole(body)
    else:
        assert rpc.response_codec is not None
        response = web.Response(body=rpc.response_codec.dumps(answer), content_type="application/json")
    total = f"total;dur={(time.perf_counter() - begun) * 1000:.1f}"
    told["server-timing"] = ", ".join(filter(None, (told.get("server-timing"), total)))
    response.headers.update(told)
    return response


async def _body(request: web.Request, seconds: float) -> dict[str, Any]:
    """The JSON object of the body, which may take `seconds` to arrive.

    Raises UnsupportedMediaType, InvalidRequest or RequestTimeout; aiohttp's 413 for one that is too large.
    """
    if request.content_type != "application/json" and not request.content_type.endswith("+json"):
        raise UnsupportedMediaType("The body must be JSON: send it with `Content-Type: application/json`.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed: send it without `Content-Encoding`.")
    value = text.parse_once(await _read(request, seconds))
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


async def _read(request: web.Request, seconds: float) -> bytes:
    # Also what ends the wait for a body that is framed otherwise than it says: aiohttp tells nobody who reads it.
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise RequestTimeout("The body did not arrive in time.") from None


def _bind_path(match: Mapping[str, str], given: dict[str, Any]) -> None:
    """Put the path's variables where the route says: `server__name` is the field `name` of the field `server`."""
    for variable, value in match.items():
        *parents, name = variable.split("__")
        target = given
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = value


def _wants_stream(given: dict[str, Any], operation: Operation) -> bool:
    asked = given.get("stream")
    return operation.stream_by_default if asked is None else asked is True
