"""The edge between the MCP SDK and HTTP: what goes wrong below becomes an answer that says what it was.

The SDK tears a whole session down when one of its requests meets a network error, and tells nobody which request had
been sent. Here every failure is turned into a JSON-RPC error for the one request that it concerns, so that the others
of the session go on, and with a mark that no server can forge, so that it is known whether repeating is safe.
"""

import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import anyio
import httpx2
import orjson

from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.errors import InvalidRequest
from trivet.tool_service.adapters import http_faults
from trivet.tool_service.adapters.http_faults import ERROR_BODY_BYTES, Fault, FaultKind

_CONNECT_SECONDS = 10.0
# Notifications and farewells hold up what comes after them, and a server has no work to do for them.
_COURTESY_SECONDS = 5.0
_REDIRECTS = 3


@dataclass(frozen=True, slots=True)
class Spoken:
    """How the SDK has last asked for the tools, and was answered: where, with which headers, and with which `_meta`."""

    url: httpx2.URL
    headers: Mapping[str, str] = field(repr=False)
    meta: Mapping[str, Any]


class _Exchange:
    """A request whose answer is awaited or being read; `abort` ends both."""

    def __init__(self) -> None:
        self._aborted = False
        self._scope: anyio.CancelScope | None = None

    @property
    def aborted(self) -> bool:
        return self._aborted

    def abort(self) -> None:
        self._aborted = True
        if self._scope is not None:
            self._scope.cancel()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What happens inside ends early, and silently, when the exchange is aborted."""
        with anyio.CancelScope() as scope:
            self._scope = scope
            if self._aborted:
                scope.cancel()
            try:
                yield
            finally:
                self._scope = None


class _AbortableStream(httpx2.AsyncByteStream):
    """The body of an event stream, which ends when the exchange is aborted."""

    def __init__(self, response: httpx2.Response, exchange: _Exchange, closed: Callable[[], None]) -> None:
        self._response = response
        self._exchange = exchange
        self._closed = closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._response.aiter_raw()
        while True:
            chunk: bytes | None = None
            with self._exchange.waiting():
                chunk = await anext(chunks, None)
            if self._exchange.aborted:
                # Of all ways to end, this is the one that does not make the SDK ask for the rest of the stream.
                raise httpx2.SSEError("the request was cancelled")
            if chunk is None:
                return
            yield chunk

    async def aclose(self) -> None:
        self._closed()
        await self._response.aclose()


class HttpEdge(httpx2.AsyncBaseTransport):
    """An HTTP transport for one session.

    With a `guard`, connections go only to the addresses that it vetted, also after a redirect. `max_bytes` bounds a
    JSON answer. `on_fault` hears of each POST that failed, for a transport whose answers come another way.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        *,
        guard: AddressGuard | None = None,
        max_bytes: int = 4 * 1024 * 1024,
        on_fault: Callable[[Fault], None] = lambda _: None,
    ) -> None:
        self._inner = inner
        self._guard = guard
        self._max_bytes = max_bytes
        self._on_fault = on_fault
        self._mark = secrets.token_hex(16)
        self._open: dict[int | str, _Exchange] = {}
        self._vetted: dict[str, tuple[str, ...]] = {}
        self.spoken: Spoken | None = None

    def fault_in(self, data: object) -> Fault | None:
        """The fault that `data`, the data of a JSON-RPC error, stands for; None if the error is the server's own."""
        match data:
            case {"mark": self._mark, "kind": str(kind), "text": str(text), "status": int(status)}:
                return Fault(FaultKind(kind), text, status)
        return None

    @property
    def guarded(self) -> bool:
        """Whether connections may go only to `addresses`."""
        return self._guard is not None

    async def addresses(self, url: httpx2.URL) -> tuple[str, ...]:
        """The addresses that a guarded connection to `url` may go to. They are remembered until one of them cannot be reached.

        Raises:
            InvalidRequest, AddressRefused: there is none.
            OSError: the name does not resolve.
        """
        if self._guard is None:
            raise AssertionError("whoever is not guarded has no addresses")
        origin = str(url.copy_with(path="/", query=None, fragment=None))
        if origin not in self._vetted:
            self._vetted[origin] = await self._guard.vet(origin)
        return self._vetted[origin]

    def forget_addresses(self) -> None:
        """Ask again where the names lead."""
        self._vetted.clear()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            return await self._send(request)
        match orjson.loads(await request.aread()):
            case {"method": "notifications/cancelled", "params": {"requestId": int() | str() as cancelled}}:
                try:
                    return await self._send(request)
                finally:
                    # Servers of the handshake era may finish the work nevertheless: nobody waits for it any more.
                    if cancelled in self._open:
                        self._open[cancelled].abort()
            case {"id": int() | str() as request_id, "method": "tools/list"} as message:
                response = await self._exchange(request, request_id)
                self.spoken = _spoken(request, response, message)
                return response
            case {"id": int() | str() as request_id, "method": str()}:
                return await self._exchange(request, request_id)
        return await self._send(request)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _exchange(self, request: httpx2.Request, request_id: int | str) -> httpx2.Response:
        exchange = self._open[request_id] = _Exchange()
        streaming = False

        def forget() -> None:
            if self._open.get(request_id) is exchange:
                del self._open[request_id]

        try:
            response = self._as_response(Fault(FaultKind.LOST, "was told to cancel the request"))
            with exchange.waiting():
                response = await self._send(request, patient=True)
            if _is_event_stream(response):
                streaming = True
                stream = _AbortableStream(response, exchange, forget)
                return httpx2.Response(response.status_code, headers=response.headers, stream=stream)
            return response
        finally:
            if not streaming:
                forget()

    async def _send(self, request: httpx2.Request, *, patient: bool = False) -> httpx2.Response:
        """The response, or one that carries a fault. Event streams are left open; everything else is read to its end."""
        courtesy = request.method == "DELETE" or (request.method == "POST" and not patient)
        timeout = httpx2.Timeout(_CONNECT_SECONDS, read=_COURTESY_SECONDS if courtesy else None)
        request.extensions = {**request.extensions, "timeout": timeout.as_dict()}
        try:
            response = await self._connect_and_send(request)
            if _is_event_stream(response) and response.is_success:
                return response
            return await self._read(request, response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            self.forget_addresses()
            slow = isinstance(error, httpx2.TimeoutException)
            return self._failed(request, http_faults.not_sent(slow=slow))
        except InvalidRequest as error:
            return self._failed(request, Fault(FaultKind.REFUSED, error.message))
        except OSError:
            return self._failed(request, http_faults.unresolved())
        except (httpx2.HTTPError, httpx2.StreamError):
            return self._failed(request, http_faults.lost())

    async def _connect_and_send(self, request: httpx2.Request) -> httpx2.Response:
        if self._guard is None:
            return await self._inner.handle_async_request(request)
        *others, last = await self.addresses(request.url)
        for address in others:
            try:
                return await self._inner.handle_async_request(_pinned(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_pinned(request, last))

    async def _read(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        limit = self._max_bytes if response.is_success else ERROR_BODY_BYTES
        body = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > limit:
                    return self._failed(request, http_faults.too_large(limit, response.status_code))
        finally:
            await response.aclose()
        if response.is_redirect:
            await self._refuse_redirect_inside(request, response)
        in_session = "mcp-session-id" in request.headers
        if response.is_error and (fault := http_faults.of_status(response.status_code, bytes(body), in_session=in_session)):
            return self._failed(request, fault)
        kept = [(name, value) for name, value in response.headers.multi_items() if name not in _BODY_HEADERS]
        return httpx2.Response(response.status_code, headers=kept, content=bytes(body))

    async def _refuse_redirect_inside(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """The SDK follows no redirect to elsewhere; one that leads inside deserves to be called what it is."""
        if self._guard is not None and "location" in response.headers:
            await self._guard.vet(str(request.url.join(response.headers["location"])))

    def _failed(self, request: httpx2.Request, fault: Fault) -> httpx2.Response:
        if request.method == "POST":
            self._on_fault(fault)
        return self._as_response(fault)

    def _as_response(self, fault: Fault) -> httpx2.Response:
        data = {"mark": self._mark, "kind": fault.kind, "text": fault.text, "status": fault.status}
        error = {"code": -32603, "message": fault.text, "data": data}
        # The SDK gives up at once on any status from 400, and reads the JSON-RPC error in its body.
        return httpx2.Response(fault.status if fault.status >= 400 else 502, json=_jsonrpc_error(error))


def http_client(edge: HttpEdge, headers: Mapping[str, str]) -> httpx2.AsyncClient:
    """A client for one session that sends `headers` with everything and takes nothing from the environment."""
    sent = {"user-agent": "trivet", **headers}
    return httpx2.AsyncClient(transport=edge, headers=sent, max_redirects=_REDIRECTS, trust_env=False)


@cache
def tls() -> ssl.SSLContext:
    """What is trusted; loading it takes longer than opening a session."""
    return httpx2.create_ssl_context()


_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def _jsonrpc_error(error: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": None, "error": error}


def _spoken(request: httpx2.Request, response: httpx2.Response, message: Mapping[str, Any]) -> Spoken | None:
    """What can be said again in the same way; nothing after a failure, or where a new cookie has to be sent from now on."""
    if not response.is_success or "set-cookie" in response.headers:
        return None
    params = message.get("params") or {}
    return Spoken(request.url, dict(request.headers), params.get("_meta") or {})


def _is_event_stream(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("text/event-stream")


def _pinned(request: httpx2.Request, address: str) -> httpx2.Request:
    """The same request to a vetted address: Host and the TLS name stay those of the URL."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )
