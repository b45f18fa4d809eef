"""Open sessions, shared by the calls of one caller and by nobody else."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from trivet.kernel.errors import InvalidRequest, McpServerUnavailable, Overloaded, RequestTimeout, ToolNotFound
from trivet.tool_service.domain.session import (
    ConnectFailed,
    Connector,
    Interrupted,
    Listing,
    NeverReached,
    OnProgress,
    SessionError,
    TimedOut,
)
from trivet.tool_service.domain.slot import Live, SessionSlot
from trivet.tool_service.domain.targets import McpServer, Registry, Target
from trivet.tool_service.domain.tools import Progress, ToolCall, ToolResult


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """`max_sessions` open at once; seconds until an unused one closes, and until a tool list is asked for again."""

    max_sessions: int = 256
    idle_timeout: float = 900.0
    tools_max_age: float = 600.0


@dataclass(frozen=True, slots=True)
class ServerState:
    """A registered server as one caller has met it: `connected`, `idle` when not, `unavailable` with the reason."""

    server: McpServer
    status: str = "idle"
    error: str = ""
    protocol_version: str = ""


def _ignored(progress: Progress) -> None:
    """For those whom progress is nothing to."""


class ToolPool:
    """Lists and calls tools over pooled sessions: one per server, headers and caller.

    Sessions open on first use, and again after a loss. A request that surely did not reach the server is sent once
    more over a new session; a call that may have been executed is not.
    """

    def __init__(
        self,
        connector: Connector,
        registry: Registry,
        limits: PoolLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connector = connector
        self._registry = registry
        self._limits = limits
        self._clock = clock
        self._slots: OrderedDict[tuple[str, str, str], SessionSlot] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._leaving: set[SessionSlot] = set()
        self._closed = False

    def apply(self, registry: Registry, limits: PoolLimits) -> None:
        """Go on with other servers and limits. What is the same keeps its sessions; calls that run go on to their end."""
        changed = {server.name for server in self._registry if registry.get(server.name) != server}
        self._registry, self._limits = registry, limits
        self._leave(lambda server: server.registered and server.name in changed)

    def leave_guests(self) -> None:
        """Close the sessions with servers that requests have brought; calls that run go on to their end."""
        self._leave(lambda server: not server.registered)

    @property
    def limits(self) -> PoolLimits:
        """What bounds it now."""
        return self._limits

    def states(self, principal: str) -> list[ServerState]:
        """All registered servers, in the order of the configuration. Asks no server."""
        return [self._state(server, principal) for server in self._registry]

    async def list_tools(self, target: Target, principal: str) -> Listing:
        """All tools of the target, from memory where they are known to be current.

        Raises:
            InvalidRequest, McpServerNotFound, AddressRefused: the target is at fault.
            McpServerUnavailable: the server is.
            Overloaded: every session that may be open is in use.
        """
        server = self._registry.resolve(target)
        if (known := self._remembered(server, principal)) is not None:
            return known
        with _Held(self, server, principal) as slot:
            try:
                return await _list(slot)
            except (NeverReached, Interrupted):
                return await _list(slot)  # listing changes nothing at the server

    async def call(self, target: Target, principal: str, call: ToolCall, on_progress: OnProgress = _ignored) -> ToolResult:
        """Call a tool. Whatever becomes of the call itself, a loss in the middle too, is a result.

        Cancelling who waits for it cancels the call at the server.

        Raises:
            InvalidRequest, McpServerNotFound, AddressRefused: the target is at fault.
            McpServerUnavailable: the server is, and nothing was called.
            ToolNotFound: the server has no such tool.
            RequestTimeout: no result within the timeout; the call was cancelled at the server.
            Overloaded: every session that may be open is in use.
        """
        server = self._registry.resolve(target)
        with _Held(self, server, principal) as slot:
            try:
                try:
                    return await _call(slot, call, on_progress)
                except NeverReached:
                    return await _call(slot, call, on_progress)  # over another session
            except (NeverReached, ConnectFailed):
                raise
            except TimedOut as error:
                raise RequestTimeout(_sentence(server, error)) from error
            except SessionError as error:
                return ToolResult.failure(_sentence(server, error))

    def close_idle(self) -> None:
        """Close the sessions that nobody has used for `idle_timeout`."""
        before = self._clock() - self._limits.idle_timeout
        for key in [key for key, slot in self._slots.items() if not slot.holders and slot.last_used <= before]:
            self._drop(key)

    async def close(self) -> None:
        """Close every session, all together; calls that still run end with a failed result."""
        self._closed = True
        for key in list(self._slots):
            self._drop(key)
        while self._leaving:
            self._close(self._leaving.pop())
        if self._closing:
            await asyncio.wait(self._closing)

    def _state(self, server: McpServer, principal: str) -> ServerState:
        # A caller who brings headers of its own has several sessions with one server: the one used last speaks.
        kind = server.identity[0]
        slots = [slot for key, slot in self._slots.items() if (key[0], key[2]) == (kind, principal)]
        if slots and (session := slots[-1].session_now) is not None:
            return ServerState(server, "connected", protocol_version=session.protocol_version)
        if slots and (failure := slots[-1].failure) is not None:
            return ServerState(server, "unavailable", error=_sentence(server, failure))
        return ServerState(server)

    def _remembered(self, server: McpServer, principal: str) -> Listing | None:
        """The tools of a server, if it need not be asked; its slot counts as used."""
        key = (*server.identity, principal)
        slot = self._slots.get(key)
        known = slot.tools_now if slot is not None else None
        if slot is not None and known is not None:
            self._slots.move_to_end(key)
            slot.last_used = self._clock()
        return known

    def take(self, server: McpServer, principal: str) -> SessionSlot:
        """The slot of a server for one more request of a caller. Raises Overloaded."""
        key = (*server.identity, principal)
        slot = self._slots.get(key)
        if slot is None:
            self._make_room()
            slot = self._slots[key] = SessionSlot(server, self._connector, self._limits.tools_max_age, self._clock)
        self._slots.move_to_end(key)
        slot.holders += 1
        return slot

    def give_back(self, slot: SessionSlot) -> None:
        """One request less."""
        slot.holders -= 1
        slot.last_used = self._clock()
        if slot in self._leaving and not slot.holders:
            self._leaving.discard(slot)
            self._close(slot)

    def _make_room(self) -> None:
        if self._closed:
            raise Overloaded("The tool service is shutting down.")
        if len(self._slots) < self._limits.max_sessions:
            return
        longest_unused = next((key for key, slot in self._slots.items() if not slot.holders), None)
        if longest_unused is None:
            raise Overloaded("Too many MCP sessions are in use.", retry_after=1.0)
        self._drop(longest_unused)

    def _leave(self, concerned: Callable[[McpServer], bool]) -> None:
        """Close sessions, each when those who use it now have done so."""
        for key in [key for key, slot in self._slots.items() if concerned(slot.server)]:
            if self._slots[key].holders:
                self._leaving.add(self._slots.pop(key))
            else:
                self._drop(key)

    def _drop(self, key: tuple[str, str, str]) -> None:
        self._close(self._slots.pop(key))

    def _close(self, slot: SessionSlot) -> None:
        task = asyncio.create_task(slot.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _list(slot: SessionSlot) -> Listing:
    with await slot.session() as live:
        return await live.tools.get(live.session.list_tools)


async def _call(slot: SessionSlot, call: ToolCall, on_progress: OnProgress) -> ToolResult:
    with await slot.session() as live:
        if (known := live.tools.known) is None or call.tool not in known.names:
            await _find(live, call.tool)
        return await live.session.call(call.tool, call.arguments, call.timeout or slot.server.call_timeout, on_progress)


async def _find(live: Live, tool: str) -> None:
    """Make sure that the server has the tool, and that the session knows its schema: arguments may travel as headers."""
    try:
        for fresh in (False, True):
            if fresh:
                live.tools.changed()
            if tool in (await live.tools.get(live.session.list_tools)).names:
                return
    except Interrupted as error:
        raise NeverReached(str(error)) from error  # only the listing was lost, not the call
    raise ToolNotFound(f"The MCP server has no tool `{tool}`.", "tool")


class _Held:
    """A slot in use by one request. What fails is told in the words, and with the field name, of that request: attempts to
    connect are shared with others."""

    __slots__ = ("_pool", "_server", "_slot")

    def __init__(self, pool: ToolPool, server: McpServer, principal: str) -> None:
        self._pool = pool
        self._server = server
        self._slot = pool.take(server, principal)

    def __enter__(self) -> SessionSlot:
        return self._slot

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.give_back(self._slot)
        if isinstance(error, SessionError):
            raise McpServerUnavailable(self._server.name, _sentence(self._server, error)) from error
        if isinstance(error, InvalidRequest):
            raise type(error)(error.message, error.param or self._server.param) from error


def _sentence(server: McpServer, error: Exception) -> str:
    return f"The MCP server `{server.name}` {error}."
