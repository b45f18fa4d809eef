"""Serves a route: reads the request, makes the RPC, writes the answer as JSON, as server-sent events or as it is."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import Message

from trivet.bridge import binary, headers, sse
from trivet.bridge.contract import Operation, Route, Rpc
from trivet.bridge.numbering import seen_before
from trivet.bridge.request import Reply, Request
from trivet.bridge.settings import BridgeSettings
from trivet.bridge.uploads import Upload, holding
from trivet.bridge.written import Whole
from trivet.kernel.auth import KeyRing
from trivet.kernel.codec import text
from trivet.kernel.codec.rendered import Rendered
from trivet.kernel.codec.runs import ACCEPTED
from trivet.kernel.codec.sse import stream_codec
from trivet.kernel.errors import InvalidKey, InvalidRequest, RequestTimeout, UnsupportedMediaType
from trivet.kernel.inprocess.calls import initial_pairs
from trivet.kernel.inprocess.face_call import FaceCall

_MODELS: Final = frozenset(f"trivet.model.v1.{name}Service" for name in ("Model", "Message", "Audio"))
"""Services that hold to `x-trivet-request-timeout` themselves: there it bounds each attempt at a model, not the whole call."""

_WITHOUT_MODEL: Final = frozenset(
    {"GetResponse", "FollowResponse", "CancelResponse", "DeleteResponse", "ListInputItems", "ListModels", "GetModel"}
)
"""Their operations that ask no model."""


_JSON: Final = "application/json"


class _Caller(NamedTuple):
    """How an RPC is called, how where its service is in this process, and whether that bounds it by the caller's timeout itself."""

    call: Callable[..., Any]
    for_face: Callable[..., Any] | None
    bounds_itself: bool


class Gateway:
    """The RPCs behind the routes; `channels` has a channel for each service's full name.

    `passed` are names of headers, in lower case, that travel on besides those of the contract.
    """

    def __init__(
        self, channels: Mapping[str, grpc.aio.Channel], keys: KeyRing, settings: BridgeSettings, passed: Collection[str] = ()
    ) -> None:
        self._channels = channels
        self._keys = keys
        self._callers: dict[str, _Caller] = {}
        self._calls: set[Any] = set()
        self.apply(settings, passed)

    def apply(self, settings: BridgeSettings, passed: Collection[str]) -> None:
        """Serve requests that come from now on by these settings."""
        self._settings = settings
        self._travelling = headers.Travelling(passed)

    def interrupt(self) -> None:
        """Cancel the running calls; their requests are answered with the error that `interruption` tells."""
        for call in list(self._calls):
            call.cancel()

    async def serve(self, route: Route, request: Request) -> Reply:
        """Answer a request to `route`. Raises ServiceError, or what the RPC raises, before anything was written."""
        sent = self.admit(request)
        if "Expect" in request.head.headers:
            await request.ask_for_body()
        if route.form is not None:
            with holding() as held:
                return await self._uploaded(route, request, Upload(route.form, request, self._settings, held), sent)
        # What was asked is known to nobody here once the call has it: an answer may take long.
        rpc, call, seen = await self._begin(route, request, sent)
        try:
            return await self._answer(request, rpc, call, seen)
        finally:
            self.end(call)

    def admit(self, request: Request) -> headers.Metadata:
        """Judge the key of a request, and give what travels on with its calls.

        To be called before the body is read: what a stranger sends is not parsed. A service of another process judges the key again.
        Raises MissingKey, InvalidKey or InvalidRequest.
        """
        given = request.head.headers
        key = headers.bearer(given)
        principal = self._keys.principal(key)
        if principal is None:
            raise InvalidKey
        request.principal = principal
        return self._travelling.metadata(given, key, request.id)

    def call(
        self,
        rpc: Rpc,
        message: Message | None,
        sent: headers.Metadata,
        principal: str | None = None,
        *,
        accepts_rendered: bool = False,
    ) -> Any:
        """The call of an RPC, without a message where that is a stream to be written; whoever asks for it ends it, too. One that has
        one message and one answer begins when that is awaited.

        `principal` is whose key it is made with, if that was judged just now: in this process it is not judged again.
        `accepts_rendered`: the answer may be `Rendered`. `interrupt` cancels the call.
        """
        caller = self._callers.get(rpc.path) or self._caller(rpc)
        timeout = headers.timeout(sent) if len(sent) > headers.FIXED else None
        if caller.bounds_itself:
            timeout = None
        if caller.for_face is None:
            call = caller.call(message, metadata=sent, timeout=timeout)
        else:
            call = caller.for_face(message, timeout, sent, principal, accepts_rendered)
        self._calls.add(call)
        return call

    def end(self, call: Any) -> None:
        """Cancel a call, if it still runs: there is nobody for whom it would."""
        self._calls.discard(call)
        if not call.done():
            call.cancel()

    async def _begin(self, route: Route, request: Request, sent: headers.Metadata) -> tuple[Rpc, Any, int]:
        """Read what is asked, and call; with it comes the number of the last event that the client has, -1 for none."""
        # Where a route reads no body, whatever came as one means nothing.
        given = await _body(request, self._settings.body_seconds) if route.reads_body else {}
        operation = route.operation(given)
        if not route.reads_body:
            given = operation.query_codec.decode(request.query.items())
        if request.variables:
            _bind_path(request.variables, given)
        message = operation.request_codec.decode(given, strict=True)
        if operation.stream is None or not _wants_stream(given, operation):
            return operation.whole, self.call(operation.whole, message, sent, request.principal, accepts_rendered=True), -1
        call = self.call(operation.stream, message, (*sent, ACCEPTED), request.principal)
        return operation.stream, call, seen_before(message)

    def _answer(self, request: Request, rpc: Rpc, call: Any, seen: int) -> Awaitable[Reply]:
        if not rpc.descriptor.server_streaming:
            return _whole(rpc, call, has_company=len(self._calls) > 1)
        if rpc.response_codec is None:
            return binary.respond(request, call)
        return sse.respond(request, sse.Events(call, stream_codec(rpc.descriptor), seen), self._settings)

    async def _uploaded(self, route: Route, request: Request, upload: Upload, sent: headers.Metadata) -> Reply:
        given = await upload.fields()
        operation = route.operation(given)
        first = upload.first(operation, given)
        rpc = operation.stream if operation.stream is not None and _wants_stream(given, operation) else operation.whole
        call = self.call(rpc, None, sent)
        # Beside the answer, which may come before the file has: an upstream need not hear all of it to refuse.
        feeding = asyncio.ensure_future(upload.feed(call, operation, first))
        try:
            return await self._answer(request, rpc, call, -1)
        except asyncio.CancelledError:
            if upload.failure is None:
                raise
            raise upload.failure from None
        finally:
            self.end(call)
            # Nobody may read on when the server reads what is left of the request.
            feeding.cancel()
            await asyncio.wait([feeding])

    def _caller(self, rpc: Rpc) -> _Caller:
        channel = self._channels[rpc.service]
        makers = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }
        make: Callable[..., Any] = makers[rpc.descriptor.client_streaming, rpc.descriptor.server_streaming]
        call = make(rpc.path, request_serializer=rpc.serialize, response_deserializer=rpc.parse_response)
        bounds_itself = rpc.service in _MODELS and rpc.descriptor.name not in _WITHOUT_MODEL
        caller = self._callers[rpc.path] = _Caller(call, getattr(call, "for_face", None), bounds_itself)
        return caller


async def _whole(rpc: Rpc, call: Any, *, has_company: bool) -> Reply:
    begun = time.perf_counter()
    answer = await call
    told = headers.told(call.initial_pairs if isinstance(call, FaceCall) else await initial_pairs(call))
    codec = rpc.response_codec
    if isinstance(answer, Rendered):
        content, content_type = answer.json, _JSON
    elif codec is not None and not (rpc.body and answer.HasField(rpc.body)):
        content, content_type = codec.dumps(answer), _JSON
    else:
        body = answer if codec is None else getattr(answer, rpc.body)
        content, content_type = body.data, binary.content_type(body)
    tenths = int((time.perf_counter() - begun) * 10_000)
    total = f"total;dur={tenths // 10}.{tenths % 10}"
    timing = told.get("server-timing")
    told["server-timing"] = f"{timing}, {total}" if timing else total
    told["Content-Type"] = content_type
    return Whole(content, told, has_company=has_company)


async def _body(request: Request, seconds: float) -> dict[str, Any]:
    """The JSON object of the body, which may take `seconds` to arrive.

    Raises UnsupportedMediaType, InvalidRequest or RequestTimeout; aiohttp's 413 for one that is too large.
    """
    given = request.head.headers
    # Nearly everybody's, of which aiohttp would make an email message to read it.
    if given.get("Content-Type") != _JSON and not (request.content_type == _JSON or request.content_type.endswith("+json")):
        raise UnsupportedMediaType("The body must be JSON: send it with `Content-Type: application/json`.")
    if given.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed: send it without `Content-Encoding`.")
    arriving = request.arriving
    if arriving.is_eof() and arriving.total_bytes <= request.max_body_bytes:
        data = arriving.read_nowait()
    else:
        data = await _read(request, seconds)
    value = text.parse_once(data)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


async def _read(request: Request, seconds: float) -> bytes:
    # Also what ends the wait for a body that is framed otherwise than it says: aiohttp tells nobody who reads it.
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise RequestTimeout("The body did not arrive in time.") from None


def _bind_path(variables: Mapping[str, str], given: dict[str, Any]) -> None:
    """Put the path's variables where the route says: `server.name` is the field `name` of the field `server`."""
    for variable, value in variables.items():
        *parents, name = variable.split(".")
        target = given
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = value


def _wants_stream(given: dict[str, Any], operation: Operation) -> bool:
    asked = given.get("stream")
    return operation.stream_by_default if asked is None else asked is True
