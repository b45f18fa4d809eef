"""A real MCP server (the official SDK over streamable HTTP) in the test's own loop, whose tools the test holds by the hand."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings


class ToolServer:
    """`seen` counts the MCP methods that were asked for; `running` and `cancelled` count calls of tools that wait."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.running = 0
        self.cancelled = 0
        self.url = ""
        self._changed = asyncio.Condition()
        self._gate = asyncio.Event()

    def forget(self) -> None:
        """Count from here, with the gate closed."""
        self.seen.clear()
        self.cancelled = 0
        self._gate = asyncio.Event()

    def open_gate(self) -> None:
        """Let the running calls of `gated` return."""
        self._gate.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until the counts are as `condition` says."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def add(self, a: int, b: int) -> str:
        """Add two integers."""
        return str(a + b)

    async def say(self, text: str) -> str:
        """Say it again."""
        return text

    async def fail(self, why: str) -> str:
        """Fail."""
        raise ToolError(why)

    async def gated(self) -> str:
        """Return when the test lets it."""
        await self._while_running(self._gate.wait())
        return "through the gate"

    async def meet(self, name: str) -> str:
        """Return once another call of this tool runs at the same time."""
        await self._while_running(self.until(lambda: self.running >= 2))
        return f"{name} met the other"

    async def _while_running(self, waiting: Any) -> None:
        await self._count(running=1)
        try:
            await waiting
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            # Shielded: a call that is cancelled must still be counted out.
            await asyncio.shield(self._count(running=-1))

    async def _count(self, *, running: int) -> None:
        async with self._changed:
            self.running += running
            self._changed.notify_all()

    async def count_method(self, method: str) -> None:
        async with self._changed:
            self.seen[method] += 1
            self._changed.notify_all()


class _Counting:
    """ASGI middleware that counts the methods of what is posted."""

    def __init__(self, app: Any, server: ToolServer) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await self._server.count_method(json.loads(body).get("method", "answer"))
        first = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Any:
            return first.pop() if first else await receive()

        await self._app(scope, replay, send)


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the tests."""
        yield


@asynccontextmanager
async def tool_server(*more: Callable[..., Any]) -> AsyncIterator[ToolServer]:
    """A server that listens on loopback; with more tools, if they are given."""
    server = ToolServer()
    mcp = MCPServer("tools", log_level="CRITICAL")
    for tool in (server.add, server.say, server.fail, server.gated, server.meet, *more):
        mcp.add_tool(tool)
    app = mcp.streamable_http_app(transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server.url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        config = uvicorn.Config(_Counting(app, server), log_level="error", timeout_graceful_shutdown=1)
        running = _Uvicorn(config)
        serving = asyncio.create_task(running.serve(sockets=[listening]))
        try:
            yield server
        finally:
            running.should_exit = True
            await serving
