"""The HTTP client of one provider: pooled connections, timeouts, limits, and every failure as a typed error."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from trivet.kernel.errors import ServiceError
from trivet.model_service.adapters.sse import SseEvent, SseParser
from trivet.model_service.adapters.upload_body import UploadBody
from trivet.model_service.adapters.upstream_errors import UpstreamErrors
from trivet.model_service.domain.attempts import connect_seconds

_ERROR_BYTES = 64 * 1024
_SETTLE_SECONDS = 0.1

# The servers that close idle connections first do so after 5 seconds (uvicorn, Node.js, llama.cpp). Giving them up before
# keeps a request from being sent into one that is just being closed.
_IDLE_SECONDS = 4.0
_JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
# A compressor in between would hold events back until it has a block full.
_STREAM_HEADERS = {**_JSON_HEADERS, "Accept": "text/event-stream", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """How long to wait, in seconds, and how much to take, in bytes."""

    connect_seconds: float = 10.0
    read_seconds: float = 300.0
    """For the next bytes of an answer, and for its first."""

    total_seconds: float = 600.0
    max_response_bytes: int = 64 * 1024 * 1024
    max_event_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is, and the key that opens it ("" for none)."""

    base_url: str
    api_key: str = field(default="", repr=False)


Authorize = Callable[[str, str, Mapping[str, str], bytes, str], Mapping[str, str]]
"""What a request is authorized by: method, URL, headers, body and the API key become the headers to add."""


def bearer(_method: str, _url: str, _headers: Mapping[str, str], _body: bytes, key: str) -> Mapping[str, str]:
    """The key as a bearer token, where there is one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def key_header(name: str) -> Authorize:
    """The key under a header of its own, where there is one."""
    return lambda _method, _url, _headers, _body, key: {name: key} if key else {}


Locate = Callable[[str, str], str]
"""Where something is: a path of the dialect, and the model that is asked, become what the base URL is followed by."""


def as_named(path: str, _model: str) -> str:
    """The path as the dialect has it."""
    return path


def is_done(event: SseEvent) -> bool:
    """Whether this is the `[DONE]` that ends a stream of chat chunks."""
    return event.data == b"[DONE]"


class UpstreamHttp:
    """Calls one provider.

    Every method raises UpstreamRejected, RateLimited, Overloaded, UpstreamFailed or UpstreamTimeout. Cancelling a
    call, or closing its iterator, closes its connection at once.
    """

    def __init__(
        self,
        provider: str,
        endpoint: Endpoint | Callable[[], Awaitable[Endpoint]],
        *,
        headers: Mapping[str, str] | None = None,
        limits: UpstreamLimits | None = None,
        authorize: Authorize = bearer,
        locate: Locate = as_named,
    ) -> None:
        """`endpoint` may be a function, for a provider that is started when it is first called."""
        self._authorize = authorize
        self._locate = locate
        self._endpoint = endpoint
        self._headers = {"User-Agent": "trivet", **(headers or {})}
        self._limits = limits or UpstreamLimits()
        self._provider = provider
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_timeout(self._limits), trust_env=False)
        self._errors = self._errors_of(endpoint) if isinstance(endpoint, Endpoint) else UpstreamErrors(provider, ())

    async def get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`, which is relative to the base URL: `models`."""
        async with self._answer("GET", self._locate(path, "")) as response:
            return await self._object(response)

    async def post_json(
        self, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Any]:
        """The JSON object that answers `body`; `body` may hold raw JSON as `orjson.Fragment`."""
        async with self._answer(
            "POST", self._located_by(path, body), orjson.dumps(body), {**_JSON_HEADERS, **headers}
        ) as response:
            return await self._object(response)

    async def post_stream(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        is_last: Callable[[SseEvent], bool] = is_done,
        whole: str = "choices",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> AsyncGenerator[list[SseEvent]]:
        """The events that answer `body`, in batches of what was ready together.

        The batch that holds the event for which `is_last` is true is the last one. Read on to the end of the iterator
        then: that gives the connection back for the next call instead of closing it. An upstream that answers in one
        piece all the same, which something under the key `whole` tells, gives one event with the whole answer.
        """
        parser = SseParser(self._limits.max_event_bytes)
        async with self._answer(
            "POST", self._located_by(path, body), orjson.dumps(body), {**_STREAM_HEADERS, **headers}
        ) as response:
            if response.content_type == "application/json":
                answer = await self._object(response)
                if answer.get("error"):
                    raise self._errors.from_object(answer["error"])
                if not answer.get(whole):
                    raise self._errors.invalid("answered in one piece where a stream was asked for")
                yield [SseEvent("", orjson.dumps(answer))]
                return
            while data := await response.content.readany():
                if events := parser.feed(data):
                    yield events
                    if any(map(is_last, events)):
                        await _settle(response)
                        return
            if events := parser.close():
                yield events

    async def stream_bytes(self, path: str, body: Mapping[str, Any], *, accept: str) -> AsyncGenerator[bytes]:
        """The bytes that answer `body`, of the media type `accept`, in the pieces that they come in."""
        headers = {**_STREAM_HEADERS, "Accept": accept}
        async with self._answer("POST", self._located_by(path, body), orjson.dumps(body), headers) as response:
            if response.content_type != accept:
                raise self._errors.invalid(f"answered with something else than {accept}")
            while data := await response.content.readany():
                yield data

    @asynccontextmanager
    async def answer(
        self, path: str, body: Mapping[str, Any] | UploadBody, *, accept: str = "application/json"
    ) -> AsyncIterator["UpstreamAnswer"]:
        """What answers `body`, of any media type and to be read as it comes.

        The answer to an upload may come before the end of that; leaving the context ends both.
        """
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        sent: bytes | UploadBody
        if isinstance(body, UploadBody):
            sent = body
            headers["Content-Type"] = body.content_type
            if body.length is not None:
                headers["Content-Length"] = str(body.length)
        else:
            sent = orjson.dumps(body)
            headers["Content-Type"] = "application/json"
        async with self._answer("POST", self._located_by(path, body), sent, headers) as response:
            yield UpstreamAnswer(response, self._limits.max_event_bytes, self._object, self._whole)

    def error(self, error: object) -> ServiceError:
        """The typed error for an error object that the upstream sent in a stream or in an answer with status 200."""
        return self._errors.from_object(error)

    def invalid(self, what: str) -> ServiceError:
        """The typed error for an answer that breaks its API; `what` goes on from "The provider ..."."""
        return self._errors.invalid(what)

    async def aclose(self) -> None:
        """Closes all connections, those of running calls too."""
        await self._session.close()

    def _located_by(self, path: str, body: Mapping[str, Any] | UploadBody) -> str:
        fields = body.fields if isinstance(body, UploadBody) else body
        return self._locate(path, str(fields.get("model", "")))

    def _errors_of(self, endpoint: Endpoint) -> UpstreamErrors:
        address = urlsplit(endpoint.base_url)
        values = [value for key, value in self._headers.items() if key != "User-Agent"]
        return UpstreamErrors(
            self._provider, [endpoint.api_key, endpoint.base_url, address.netloc, address.hostname or "", *values]
        )

    async def _located(self) -> Endpoint:
        if isinstance(self._endpoint, Endpoint):
            return self._endpoint
        endpoint = await self._endpoint()
        self._errors = self._errors_of(endpoint)
        return endpoint

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: bytes | UploadBody | None = None, headers: Mapping[str, str] = _JSON_HEADERS
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        endpoint = await self._located()
        sent = CIMultiDict(headers)
        with self._failures():
            url = _joined(endpoint.base_url, path)
            sent.update(self._authorize(method, str(url), sent, body if isinstance(body, bytes) else b"", endpoint.api_key))
            sent.update(self._headers)
            response = await self._sent(method, url, data=body.pieces() if isinstance(body, UploadBody) else body, headers=sent)
            try:
                if not 200 <= response.status < 300:
                    raise self._errors.from_response(response.status, response.headers, await _read_error(response))
                with _watched(response):
                    yield response
            finally:
                # What is not read to its end is not wanted any more: closing tells the upstream to stop.
                response.release() if response.content.at_eof() else response.close()

    async def _sent(self, method: str, url: URL, **request: Any) -> aiohttp.ClientResponse:
        # A request whose connection breaks is never sent again here, though it may have met a connection that was being closed:
        # nobody knows whether the upstream has read it. That is a failed attempt, and the route says what follows.
        connect = connect_seconds.get()
        if connect is not None:
            request["timeout"] = _timeout(replace(self._limits, connect_seconds=connect))
        return await self._session.request(method, url, allow_redirects=False, **request)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise self._errors.timeout() from error
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise self._errors.unreachable() from error
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError) as error:
            raise self._errors.broken() from error

    async def _object(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        if response.content_type == "text/event-stream":
            raise self._errors.invalid("answered with a stream where none was asked for")
        try:
            parsed = orjson.loads(await self._whole(response))
        except orjson.JSONDecodeError as error:
            raise self._errors.invalid("sent an answer that is not JSON") from error
        if not isinstance(parsed, dict):
            raise self._errors.invalid("sent an answer that is not a JSON object")
        return parsed

    async def _whole(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        while data := await response.content.readany():
            body += data
            if len(body) > self._limits.max_response_bytes:
                raise self._errors.invalid("sent an answer that is too large")
        return bytes(body)


class UpstreamAnswer:
    """An answer with a good status, to be read once, in one of these ways. `content_type` is without its parameters."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        max_event_bytes: int,
        read_object: Callable[[aiohttp.ClientResponse], Awaitable[dict[str, Any]]],
        read_whole: Callable[[aiohttp.ClientResponse], Awaitable[bytes]],
    ) -> None:
        self._response = response
        self._max_event_bytes = max_event_bytes
        self._read_object = read_object
        self._read_whole = read_whole
        self.content_type = response.content_type
        self.full_content_type = response.headers.get("Content-Type", "application/octet-stream")

    async def json_object(self) -> dict[str, Any]:
        """All of it, as a JSON object."""
        return await self._read_object(self._response)

    async def whole(self) -> bytes:
        """All of it."""
        return await self._read_whole(self._response)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Its bytes in the pieces that were ready together."""
        while data := await self._response.content.readany():
            yield data

    async def events(self) -> AsyncGenerator[list[SseEvent]]:
        """Its server-sent events in batches of what was ready together."""
        parser = SseParser(self._max_event_bytes)
        async for data in self.pieces():
            if events := parser.feed(data):
                yield events
        if events := parser.close():
            yield events


def _timeout(limits: UpstreamLimits) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=limits.total_seconds, sock_connect=limits.connect_seconds, sock_read=limits.read_seconds)


def _joined(base_url: str, path: str) -> URL:
    """The URL of a path that is encoded as it has to be sent: encoding it anew would undo parts of it, and break a signature."""
    try:
        return URL(f"{URL(base_url.rstrip('/'))}/{path}", encoded=True)
    except ValueError as error:
        raise aiohttp.InvalidURL(base_url) from error


@contextmanager
def _watched(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Ends the body with its connection: at broken framing, aiohttp's parser closes that and leaves the reader waiting."""

    def end(_: object = None) -> None:
        if not response.content.is_eof() and response.content.exception() is None:
            response.content.set_exception(aiohttp.ClientPayloadError("the connection is lost"))

    protocol = response.connection.protocol if response.connection else None
    closed = None if protocol is None else protocol.closed  # it is false while it holds no message
    if closed is None:
        end()
        yield
        return
    closed.add_done_callback(end)
    try:
        yield
    finally:
        closed.remove_done_callback(end)
        # The connection may be lost later, when nobody reads: asyncio would complain that nobody heard of it.
        closed.remove_done_callback(_heard)
        closed.add_done_callback(_heard)


def _heard(closed: "asyncio.Future[None]") -> None:
    if not closed.cancelled():
        closed.exception()


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while len(body) < _ERROR_BYTES and (data := await response.content.readany()):
        body += data
    return bytes(body)


async def _settle(response: aiohttp.ClientResponse) -> None:
    """Waits a moment for the end of the body after its last event, so that the connection can serve the next call."""
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            while not response.content.at_eof():
                await response.content.readany()
    except (TimeoutError, aiohttp.ClientError):
        pass
