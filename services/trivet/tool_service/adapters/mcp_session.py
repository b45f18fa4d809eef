"""One session with one MCP server, owned by a task of its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from typing import Any, Self

import anyio
import mcp_types as types
from mcp.client import Client
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import x_mcp_header_map
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from trivet.tool_service.adapters import mcp_messages, mcp_results
from trivet.tool_service.adapters.http_faults import Fault
from trivet.tool_service.adapters.mcp_messages import Message, NotPlain
from trivet.tool_service.adapters.mcp_plain import CallableTool, PlainCalls
from trivet.tool_service.adapters.output_schemas import Check, surely
from trivet.tool_service.domain.session import (
    Answered,
    Interrupted,
    Listing,
    NeverReached,
    OnProgress,
    SessionError,
    TimedOut,
)
from trivet.tool_service.domain.tools import Progress, ToolResult

_log = logging.getLogger(__name__)

Streams = tuple[Any, Any]
"""What a transport of the SDK yields: messages from the server, messages to it."""

_MOST_PAGES = 100
_NOT_VALID = "gave a result that is not valid"
# Seconds until changes are listened for again when the server ended that; longer each time it does.
_PAUSES = (1.0, 5.0, 30.0, 300.0)
# The SDK gives a program two seconds to end by itself and two more after SIGTERM.
_CLOSE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session behaves: the SDK's mode of negotiation, seconds to stand and to list tools, the largest result.

    `fault_in` tells what an error of the transport means; setting `ending` ends the session from outside. `plain` makes
    the calls that need nothing of the SDK, where the transport lets that be.
    """

    mode: str
    timeout: float
    max_result_bytes: int
    on_tools_changed: Callable[[], None]
    fault_in: Callable[[object], Fault | None] = lambda _: None
    plain: PlainCalls | None = None
    ending: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _KnownTool:
    """A tool that was listed; `gives` is true for structured results that are surely what it promises, None if it promises none."""

    callable: CallableTool
    gives: Check | None

    def surely_gives(self, result: Message) -> bool:
        """Whether `result` needs no closer look."""
        return self.gives is None or self.gives(result.get("structuredContent"))


class NotOpened(Exception):  # noqa: N818 - says what happened
    """A session could not be opened. The SDK raises anything, and groups of it: `cause` is one of these."""

    def __init__(self, cause: BaseException | None) -> None:
        super().__init__("the session could not be opened")
        self.cause = cause


class McpSession:
    """A session that stands until it is closed or its transport ends.

    Cancel scopes have to be left by the task that entered them, hence the owner: it alone opens and closes the SDK's
    client, while any task may send requests through it.
    """

    def __init__(self, transport: AbstractAsyncContextManager[Streams], options: SessionOptions) -> None:
        self._options = options
        self._ending = options.ending
        self._client = Client(
            _watched(transport, self._ending.set),
            mode=options.mode,
            cache=None,
            message_handler=self._on_message,
            read_timeout_seconds=options.timeout,
            client_info=types.Implementation(name="trivet", version="1"),
        )
        self._standing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._known: dict[str, _KnownTool] = {}
        self._owner = asyncio.create_task(self._own())
        self._owner.add_done_callback(_note_end)

    @classmethod
    async def open(cls, transport: AbstractAsyncContextManager[Streams], options: SessionOptions) -> Self:
        """Open a session.

        Raises:
            NotOpened: with whatever the SDK and its transport came up with.
        """
        session = cls(transport, options)
        try:
            await asyncio.wait({session._owner, session._standing}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await session.close()
            raise
        if not session._standing.done():
            raise NotOpened(session._owner.exception())
        return session

    @property
    def closed(self) -> bool:
        return self._ending.is_set() or self._owner.done()

    @property
    def protocol_version(self) -> str:
        return self._client.protocol_version

    @cached_property
    def legacy(self) -> bool:
        """Whether the server wanted the handshake."""
        return self.protocol_version not in MODERN_PROTOCOL_VERSIONS

    async def list_tools(self) -> Listing:
        self._check_open()
        tools: list[types.Tool] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            try:
                page = await self._client.list_tools(cursor=cursor)
            except MCPError as error:
                raise self._translated(error) from error
            except ValidationError as error:
                raise Answered("listed its tools in a form that MCP does not know") from error
            tools += page.tools
            cursor = page.next_cursor
            if not cursor:
                self._known = {tool.name: _known(tool) for tool in tools}
                return Listing(tuple(map(mcp_results.tool, tools)), (page.ttl_ms or 0) / 1000 or None)
        raise Answered(f"has more than {_MOST_PAGES} pages of tools")

    async def call(self, tool: str, arguments: dict[str, Any], timeout: float, on_progress: OnProgress) -> ToolResult:
        self._check_open()
        known, plain, state = self._known.get(tool), self._options.plain, None
        if known is not None and plain is not None and plain.possible:
            try:
                return await self._result(known, await plain.call(known.callable, arguments, timeout, on_progress))
            except NotPlain as wanted:
                state = wanted.state
                if state is None:
                    # The tools are elsewhere now, or others: with the next list that is known.
                    self._options.on_tools_changed()

        async def report(progress: float, total: float | None, message: str | None) -> None:
            on_progress(Progress(progress, total, message or ""))

        try:
            found = await self._client.call_tool(tool, arguments, timeout, report, request_state=state)
        except MCPError as error:
            raise self._translated(error, timeout) from error
        except (ValidationError, RuntimeError) as error:
            raise Answered(_NOT_VALID) from error
        return mcp_results.result(found, self._options.max_result_bytes)

    async def _result(self, known: "_KnownTool", answer: Message) -> ToolResult:
        """The result that answers a plain call."""
        raw = mcp_messages.result_in(answer, asks=not self.legacy)
        plain = mcp_results.plain(raw, self._options.max_result_bytes)
        if plain is not None and (plain.is_error or known.surely_gives(raw)):
            return plain
        try:
            found = mcp_results.of_version(raw, self.protocol_version)
            if not found.is_error:
                await self._client.session.validate_tool_result(known.callable.name, found)
        except (ValidationError, RuntimeError) as error:
            # RuntimeError: the structured result is not what the tool's own schema promises.
            raise Answered(_NOT_VALID) from error
        return mcp_results.result(found, self._options.max_result_bytes)

    async def close(self) -> None:
        self._ending.set()
        if not self._standing.done():
            self._owner.cancel()
        done, _ = await asyncio.wait({self._owner}, timeout=_CLOSE_SECONDS)
        if not done:
            self._owner.cancel()
            await asyncio.wait({self._owner}, timeout=_CLOSE_SECONDS)

    async def _own(self) -> None:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self._options.timeout):
                await stack.enter_async_context(self._client)
            if self._options.plain is not None:
                stack.callback(self._options.plain.close)
            self._standing.set_result(None)
            await self._stand()

    async def _stand(self) -> None:
        tools = self._client.server_capabilities.tools
        async with anyio.create_task_group() as group:
            if not self.legacy and tools is not None and tools.list_changed:
                group.start_soon(self._listen)
            await self._ending.wait()
            group.cancel_scope.cancel()

    async def _listen(self) -> None:
        """Hear of changed tools. While nobody listens, changes are missed: a stream that ends counts as one."""
        for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
            try:
                async with self._client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self._options.on_tools_changed()
            except SubscriptionLost:
                pass
            except (MCPError, TimeoutError):
                _log.debug("an MCP server does not tell of changed tools", exc_info=True)
                return
            self._options.on_tools_changed()
            await anyio.sleep(pause)

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._options.on_tools_changed()

    def _check_open(self) -> None:
        if self.closed:
            raise NeverReached("was disconnected")

    def _translated(self, error: MCPError, timeout: float | None = None) -> SessionError:
        fault = self._options.fault_in(error.data)
        if fault is not None:
            return fault.error()
        if error.code == types.REQUEST_TIMEOUT:
            return TimedOut(f"did not answer within {timeout or self._options.timeout:g} s")
        if error.code == types.CONNECTION_CLOSED and (self.closed or error.message.startswith("SSE stream")):
            return Interrupted("was disconnected before it answered")
        return Answered(f"answered with an error: {error.message}")


def _known(tool: types.Tool) -> _KnownTool:
    check = surely(tool.output_schema) if tool.output_schema is not None else None
    return _KnownTool(CallableTool(tool.name, x_mcp_header_map(tool.input_schema)), check)


def _note_end(owner: asyncio.Task[None]) -> None:
    if not owner.cancelled() and (error := owner.exception()) is not None:
        _log.debug("an MCP session ended with an error", exc_info=error)


@asynccontextmanager
async def _watched(transport: AbstractAsyncContextManager[Streams], on_end: Callable[[], None]) -> AsyncIterator[Streams]:
    """The same transport; `on_end` is called when nothing more will come from the server."""
    async with transport as (reading, writing):
        yield _WatchedStream(reading, on_end), writing


class _WatchedStream:
    def __init__(self, stream: Any, on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    @property
    def last_context(self) -> Any:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        return await self._stream.receive()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._stream)
        except (StopAsyncIteration, anyio.ClosedResourceError):
            self._on_end()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()
