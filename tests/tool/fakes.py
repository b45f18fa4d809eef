"""Stand-ins for MCP servers and the clock, steered by the test."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from trivet.tool_service.domain.session import Listing, OnProgress
from trivet.tool_service.domain.targets import McpServer
from trivet.tool_service.domain.tools import Progress, Text, Tool, ToolResult


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeSession:
    """Has the tool `t`, which answers with `result`; `fails` is raised first, one by one, by lists and calls."""

    def __init__(self, number: int, on_tools_changed: Callable[[], None]) -> None:
        self.number = number
        self.on_tools_changed = on_tools_changed
        self.closed = False
        self.protocol_version = "2025-11-25"
        self.lists = 0
        self.calls: list[tuple[str, dict[str, Any], float]] = []
        self.max_age: float | None = None
        self.list_fails: deque[Exception] = deque()
        self.call_fails: deque[Exception] = deque()
        self.listing: Callable[[], Awaitable[None]] | None = None
        self.progress: list[Progress] = []
        self.gate: asyncio.Event | None = None
        self.cancelled = 0

    async def list_tools(self) -> Listing:
        self.lists += 1
        if self.listing is not None:
            await self.listing()
        if self.list_fails:
            raise self.list_fails.popleft()
        return Listing((Tool("t", "", "", "{}"),), self.max_age)

    async def call(self, tool: str, arguments: dict[str, Any], timeout: float, on_progress: OnProgress) -> ToolResult:
        self.calls.append((tool, arguments, timeout))
        try:
            for step in self.progress:
                on_progress(step)
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.call_fails:
            raise self.call_fails.popleft()
        return ToolResult((Text(f"from {self.number}"),))

    async def close(self) -> None:
        self.closed = True


class FakeConnector:
    """Opens fake sessions, numbered from 1; `fails` are raised first. `gate` holds attempts back while it is not set."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.servers: list[McpServer] = []
        self.attempts = 0
        self.fails: deque[Exception] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.prepare: Callable[[FakeSession], None] = lambda _: None
        self.attempt: Callable[[], None] = lambda: None

    async def connect(self, server: McpServer, on_tools_changed: Callable[[], None]) -> FakeSession:
        self.attempts += 1
        self.servers.append(server)
        self.attempt()
        await self.gate.wait()
        if self.fails:
            raise self.fails.popleft()
        session = FakeSession(len(self.sessions) + 1, on_tools_changed)
        self.prepare(session)
        self.sessions.append(session)
        return session
