"""The HTTP client of one provider: what is asked, and every failure as a typed error.

Asking is most of what a call costs a gateway. So the HTTP client below is our own (`services/trivet/kernel/http1/`), and
whatever is the same at each call is made once (`services/trivet/model_service/adapters/upstream_site.py`).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from trivet.kernel.call import current_call
from trivet.kernel.errors import ServiceError
from trivet.kernel.http1.awaited import Awaited
from trivet.kernel.http1.connection import Patience
from trivet.kernel.http1.failures import HttpError
from trivet.kernel.http1.origin import Origin
from trivet.kernel.http1.request import merged
from trivet.kernel.turn import next_turn
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upload_body import UploadBody
from trivet.model_service.adapters.upstream_answer import UpstreamAnswer, UpstreamLimits
from trivet.model_service.adapters.upstream_errors import UpstreamErrors
from trivet.model_service.adapters.upstream_events import DONE, OneEvent, UpstreamEvents
from trivet.model_service.adapters.upstream_site import Asked, Authorize, Endpoint, Locate, Sign, Site, as_named, bearer
from trivet.model_service.domain.attempts import connect_seconds

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_EVENTS: Final = "text/event-stream"


def is_done(event: SseEvent) -> bool:
    """Whether this is that event."""
    return event.data == DONE


class UpstreamHttp:
    """Calls one provider.

    Every method raises UpstreamRejected, RateLimited, Overloaded, UpstreamFailed or UpstreamTimeout. Cancelling a
    call, or closing its iterator, closes its connection at once. Redirects are not followed.
    """

    def __init__(
        self,
        provider: str,
        endpoint: Endpoint | Callable[[], Awaitable[Endpoint]],
        *,
        headers: Mapping[str, str] | None = None,
        limits: UpstreamLimits | None = None,
        authorize: Authorize = bearer,
        sign: Sign | None = None,
        locate: Locate = as_named,
    ) -> None:
        """`endpoint` may be a function, for a provider that is started when it is first called.

        `headers` are sent with each call and outrank all others. Where requests are signed, `sign` takes the place of `authorize`.
        """
        self._provider = provider
        self._endpoint = endpoint
        self._headers = {"User-Agent": "trivet", **(headers or {})}
        self._limits = limits or UpstreamLimits()
        self._authorize = authorize
        self._sign = sign
        self._locate = locate
        self._site: Site | None = None
        self._origins: dict[str, Origin] = {}
        self._closed = False
        self._errors = self._errors_of(endpoint) if isinstance(endpoint, Endpoint) else UpstreamErrors(provider, ())

    async def get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`, which is relative to the base URL: `models`."""
        with await self._ask(Asked("GET", path), None) as answer:
            return await answer.json_object()

    async def post_json(self, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str] = _NO_HEADERS) -> dict[str, Any]:
        """The JSON object that answers `body`; `body` may hold raw JSON as `orjson.Fragment`."""
        asked = Asked("POST", path, _model(body))
        with await self._ask(asked, orjson.dumps(body), headers, besides=Awaited.WHOLE) as answer:
            return await answer.json_object()

    async def post_stream(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        is_last: Callable[[SseEvent], bool] | None = None,
        whole: str = "choices",
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> AsyncGenerator[list[SseEvent]]:
        """The events that answer `body`, in batches of what was ready together.

        The batch that holds the event for which `is_last` is true, or without that `[DONE]`, is the last one. Read on to the end of the iterator
        then: that gives the connection back for the next call instead of closing it. An upstream that answers in one
        piece all the same, which something under the key `whole` tells, gives one event with the whole answer.
        """
        with await self.stream(path, body, is_last=is_last, whole=whole, headers=headers) as events:
            while not events.ended:
                if batch := events.of(await events.read()):
                    yield batch
            await events.settle()

    async def stream(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        is_last: Callable[[SseEvent], bool] | None = None,
        whole: str = "choices",
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> UpstreamEvents:
        """The same, for who wants no iterator below its own."""
        answer = await self._ask(
            Asked("POST", path, _model(body), _EVENTS), orjson.dumps(body), headers, besides=Awaited.BEGINNING
        )
        if answer.content_type != "application/json":
            return UpstreamEvents(answer, self._limits.max_event_bytes, is_last)
        try:
            return OneEvent(answer, await self._in_one_piece(answer, whole))
        except BaseException as error:
            answer.__exit__(type(error), error, error.__traceback__)
            raise

    async def stream_bytes(self, path: str, body: Mapping[str, Any], *, accept: str) -> AsyncGenerator[bytes]:
        """The bytes that answer `body`, of the media type `accept`, in the pieces that they come in."""
        with await self._ask(Asked("POST", path, _model(body), accept), orjson.dumps(body)) as answer:
            if answer.content_type != accept:
                raise self._errors.invalid(f"answered with something else than {accept}")
            while data := await answer.read():
                yield data

    async def answer(
        self, path: str, body: Mapping[str, Any] | UploadBody, *, accept: str = "application/json"
    ) -> UpstreamAnswer:
        """What answers `body`, of any media type and to be read as it comes, in its context.

        The answer to an upload may come before the end of that; leaving the context ends both.
        """
        if isinstance(body, UploadBody):
            asked = Asked("POST", path, _model(body.fields), accept, content_type="")
            return await self._ask(asked, b"", body.headers, body)
        return await self._ask(Asked("POST", path, _model(body), accept), orjson.dumps(body))

    def error(self, error: object) -> ServiceError:
        """The typed error for an error object that the upstream sent in a stream or in an answer with status 200."""
        return self._errors.from_object(error)

    def invalid(self, what: str) -> ServiceError:
        """The typed error for an answer that breaks its API; `what` goes on from "The provider ..."."""
        return self._errors.invalid(what)

    async def aclose(self) -> None:
        """Closes all connections, those of running calls too."""
        self._closed = True
        for origin in self._origins.values():
            origin.close()

    # ---- a call ----------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        asked: Asked,
        body: bytes | None,
        headers: Mapping[str, str] = _NO_HEADERS,
        upload: UploadBody | None = None,
        *,
        besides: Awaited = Awaited.NOTHING,
    ) -> UpstreamAnswer:
        """The answer, whose head has come and is good, and what is awaited `besides`. An `upload` follows behind `body`."""
        # A request whose connection breaks is never sent again here, though it may have met a connection that was being closed:
        # nobody knows whether the upstream has read it. That is a failed attempt, and the route says what follows.
        try:
            site = self._site
            if site is None or site.endpoint is not self._endpoint:
                site = await self._located()
            head = site.head(asked)
            if headers:
                head += site.headers(headers)
            if self._sign is not None:
                head += site.headers(self._sign(asked.method, site.url(asked), {"Content-Type": asked.content_type}, body or b""))
            if has_company := (call := current_call.get()) is not None and call.has_company:
                # Calls that the same turn of the loop brings as far are sent right after one another: the first wakes an upstream that
                # sleeps, which costs more than to write to it, and the others find it awake.
                await next_turn()
            # Where a turn has passed, the loop has looked just now which connections have ended.
            connection = site.origin.free(surely=not has_company) or await site.origin.open(self._connect_seconds())
        except HttpError as error:
            raise self._errors.from_failure(error) from error
        if body is None or upload is not None:
            connection.start(head + b"\r\n", b"")
        else:
            connection.start(b"%bContent-Length: %d\r\n\r\n" % (head, len(body)), body)
        if upload is not None:
            connection.upload(upload.pieces(), upload.length)
        answer = UpstreamAnswer(connection, self._errors, self._limits)
        await answer.begin(besides)
        return answer

    async def _located(self) -> Site:
        """The site of the endpoint, which is asked for at each call where it is not always the same."""
        endpoint = self._endpoint if isinstance(self._endpoint, Endpoint) else await self._endpoint()
        if self._site is None or self._site.endpoint != endpoint:
            self._errors = self._errors_of(endpoint)
            self._site = self._site_at(endpoint)
        return self._site

    def _site_at(self, endpoint: Endpoint) -> Site:
        origin = self._origins.get(endpoint.base_url)
        if origin is None:
            origin = Origin(endpoint.base_url, Patience(self._limits.read_seconds, self._limits.total_seconds))
            self._origins[endpoint.base_url] = origin
            if self._closed:
                origin.close()
        shown = {} if self._sign is not None else self._authorize(endpoint.api_key)
        return Site(endpoint, origin, merged(origin.authorization, shown, self._headers), self._locate)

    def _connect_seconds(self) -> float:
        wanted = connect_seconds.get()
        return self._limits.connect_seconds if wanted is None else wanted

    def _errors_of(self, endpoint: Endpoint) -> UpstreamErrors:
        address = urlsplit(endpoint.base_url)
        values = [value for key, value in self._headers.items() if key != "User-Agent"]
        return UpstreamErrors(
            self._provider, [endpoint.api_key, endpoint.base_url, address.netloc, address.hostname or "", *values]
        )

    async def _in_one_piece(self, answer: UpstreamAnswer, whole: str) -> SseEvent:
        """An answer where a stream was asked for, as an event."""
        given = await answer.json_object()
        if given.get("error"):
            raise self._errors.from_object(given["error"])
        if not given.get(whole):
            raise self._errors.invalid("answered in one piece where a stream was asked for")
        return SseEvent("", orjson.dumps(given))


def _model(body: Mapping[str, Any]) -> str:
    return str(body.get("model", ""))
