"""Opens sessions: which transport, which era of the protocol, and what to say when neither will do."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import httpx2
import mcp_types as types
from mcp.shared.exceptions import MCPError

from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.errors import AddressRefused
from trivet.tool_service.adapters.http_edge import HttpEdge, tls
from trivet.tool_service.adapters.http_faults import Fault, FaultKind
from trivet.tool_service.adapters.mcp_plain import PlainCalls
from trivet.tool_service.adapters.mcp_session import McpSession, NotOpened, SessionOptions, Streams
from trivet.tool_service.adapters.mcp_sse import sse
from trivet.tool_service.adapters.mcp_stdio import stdio
from trivet.tool_service.adapters.mcp_streamable_http import streamable_http
from trivet.tool_service.domain.session import ConnectFailed, Session
from trivet.tool_service.domain.targets import HttpEndpoint, McpServer, StdioCommand

_MOST_REMEMBERED = 1024
# An HTTP error that speaks of this request rather than of the transport: SSE would fare no better.
_NOT_ABOUT_TRANSPORT = frozenset({401, 403, 407, 408, 429})


class _Failed(ConnectFailed):
    """A failure, and what may be tried after it: the other era, the other HTTP transport, or nothing."""

    def __init__(self, text: str, *, other_era: bool = False, other_transport: bool = False) -> None:
        super().__init__(text)
        self.other_era = other_era
        self.other_transport = other_transport


@dataclass(frozen=True, slots=True)
class _Ways:
    """What worked with a server the last time."""

    sse: bool = False
    legacy: bool = False


class McpConnector:
    """Connects to MCP servers, and remembers what each understood, so that the next session costs no more questions.

    `max_bytes` is the largest answer that sessions take which are opened from now on.
    """

    def __init__(self, guard: AddressGuard, max_result_bytes: int) -> None:
        self._guard = guard
        self.max_bytes = max_result_bytes
        self._ways: dict[str, _Ways] = {}

    async def connect(self, server: McpServer, on_tools_changed: Callable[[], None]) -> Session:
        """See the port. The whole of it takes at most a few times the server's `connect_timeout`."""
        endpoint = server.endpoint
        if isinstance(endpoint, StdioCommand):
            return await self._by_stdio(server, endpoint, on_tools_changed)
        if endpoint.guarded:
            try:
                await self._guard.vet(endpoint.url)
            except OSError as error:
                raise ConnectFailed("cannot be reached: its name does not resolve") from error
        return await self._by_http(server, endpoint, on_tools_changed)

    async def _by_http(self, server: McpServer, endpoint: HttpEndpoint, on_tools_changed: Callable[[], None]) -> McpSession:
        if self._known(server).sse:
            try:
                return await self._by_sse(server, endpoint, on_tools_changed)
            except ConnectFailed:
                self._forget(server)
        try:
            return await self._by_streamable_http(server, endpoint, on_tools_changed)
        except _Failed as refused:
            if not refused.other_transport:
                raise
            try:
                return await self._by_sse(server, endpoint, on_tools_changed)
            except ConnectFailed:
                raise refused from None

    async def _by_streamable_http(
        self, server: McpServer, endpoint: HttpEndpoint, on_tools_changed: Callable[[], None]
    ) -> McpSession:
        def attempt(mode: str) -> "_Attempt":
            edge = self._edge(endpoint)
            plain = PlainCalls(edge, self.max_bytes, on_tools_changed)
            options = SessionOptions(
                mode, server.connect_timeout, self.max_bytes, on_tools_changed, fault_in=edge.fault_in, plain=plain
            )
            return _Attempt(streamable_http(endpoint, edge, self.max_bytes), options)

        modes = ("legacy", "auto") if self._known(server).legacy else ("auto",)
        return await self._in_one_of(modes, server, attempt)

    async def _by_sse(self, server: McpServer, endpoint: HttpEndpoint, on_tools_changed: Callable[[], None]) -> McpSession:
        ending = asyncio.Event()
        edge = self._edge(endpoint, on_fault=lambda _: ending.set())
        options = SessionOptions(
            "legacy", server.connect_timeout, self.max_bytes, on_tools_changed, fault_in=edge.fault_in, ending=ending
        )
        session = await _open(_Attempt(sse(endpoint, edge), options))
        self._remember(server, _Ways(sse=True, legacy=True))
        return session

    async def _by_stdio(self, server: McpServer, command: StdioCommand, on_tools_changed: Callable[[], None]) -> McpSession:
        def attempt(mode: str) -> "_Attempt":
            options = SessionOptions(mode, server.connect_timeout, self.max_bytes, on_tools_changed)
            return _Attempt(stdio(command, server.name), options)

        # Programs of the handshake era may end at the first message that is not the handshake.
        modes = ("legacy", "auto") if self._known(server).legacy else ("auto", "legacy")
        return await self._in_one_of(modes, server, attempt)

    async def _in_one_of(self, modes: tuple[str, ...], server: McpServer, attempt: Callable[[str], "_Attempt"]) -> McpSession:
        *others, last = modes
        for mode in others:
            try:
                session = await _open(attempt(mode))
                break
            except _Failed as failed:
                if not failed.other_era:
                    raise
        else:
            session = await _open(attempt(last))
        self._remember(server, _Ways(legacy=session.legacy))
        return session

    def _edge(self, endpoint: HttpEndpoint, on_fault: Callable[[Fault], None] = lambda _: None) -> HttpEdge:
        guard = self._guard if endpoint.guarded else None
        return HttpEdge(httpx2.AsyncHTTPTransport(verify=tls()), guard=guard, max_bytes=self.max_bytes, on_fault=on_fault)

    def _known(self, server: McpServer) -> _Ways:
        return self._ways.get(server.identity[0], _Ways())

    def _remember(self, server: McpServer, ways: _Ways) -> None:
        if len(self._ways) >= _MOST_REMEMBERED:
            self._ways.clear()
        self._ways[server.identity[0]] = ways

    def _forget(self, server: McpServer) -> None:
        self._ways.pop(server.identity[0], None)


@dataclass(frozen=True, slots=True)
class _Attempt:
    transport: AbstractAsyncContextManager[Streams]
    options: SessionOptions


async def _open(attempt: _Attempt) -> McpSession:
    try:
        return await McpSession.open(attempt.transport, attempt.options)
    except NotOpened as failed:
        raise _reason(failed.cause, attempt.options) from failed.cause


def _reason(error: BaseException | None, options: SessionOptions) -> _Failed | AddressRefused:
    """The failure in words, from the most telling of the errors that the SDK and its transport raised together."""
    for leaf in _leaves(error):
        match leaf:
            case MCPError():
                return _refusal(leaf, options)
            case httpx2.HTTPStatusError(response=response):
                return _Failed(f"answered with HTTP {response.status_code}")
            case TimeoutError():
                return _Failed(f"did not answer within {options.timeout:g} s")
            case OSError():
                return _Failed("could not be started")
    return _Failed("does not speak MCP")


def _refusal(error: MCPError, options: SessionOptions) -> _Failed | AddressRefused:
    fault = options.fault_in(error.data)
    if fault is not None and fault.kind is FaultKind.REFUSED:
        return AddressRefused(fault.text, "")
    if fault is not None:
        about_transport = 400 <= fault.status < 500 and fault.status not in _NOT_ABOUT_TRANSPORT
        return _Failed(fault.text, other_transport=fault.kind is FaultKind.STATUS and about_transport)
    if error.code == types.CONNECTION_CLOSED:
        return _Failed("closed the connection while the session was being opened", other_era=True)
    return _Failed(f"refused the session: {error.message}", other_era=True)


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    elif error is not None:
        yield error
