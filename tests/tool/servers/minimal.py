"""An MCP server written by hand, as small ones in the wild are, in the test's own loop; its faults are set at will."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

TOOLS = [
    {"name": "add", "inputSchema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    {"name": "hang", "inputSchema": {"type": "object"}},
]


Play = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class MinimalServer:
    """Speaks the handshake era with plain JSON answers.

    `status` answers every POST with that HTTP status. `sessions` makes it hand out session ids and refuse unknown ones
    with `refusal`. `answers` replaces results by method; an exception class among them cuts the connection.
    `hanging` counts the calls of `hang` whose connection is open. `play` answers calls of tools, `resume` each GET.
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.status = 0
        self.redirect = ""
        self.sessions: set[str] | None = None
        self.refusal: Callable[[], web.Response] = lambda: web.Response(status=404)
        self.answers: dict[str, Any] = {}
        self.hanging = 0
        self.posted: list[dict[str, Any]] = []
        self.play: Play | None = None
        self.resume: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.changed = asyncio.Condition()
        self.url = ""
        self.port = 0

    async def post(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        method = message.get("method", "")
        self.seen[method] += 1
        self.headers.append(dict(request.headers))
        self.posted.append(message)
        if self.redirect:
            return web.Response(status=307, headers={"Location": self.redirect})
        if self.status:
            return web.Response(status=self.status)
        if self._unknown_session(method, request):
            return self.refusal()
        if "id" not in message:
            return web.Response(status=202)
        if message.get("params", {}).get("name") == "hang":
            await self._hang()
        if self.play is not None and method == "tools/call":
            return await self.play(request, message)
        return self._answer(request, method, message)

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.seen["GET"] += 1
        self.headers.append(dict(request.headers))
        return web.Response(status=405) if self.resume is None else await self.resume(request)

    def _unknown_session(self, method: str, request: web.Request) -> bool:
        if self.sessions is None or method in {"initialize", "server/discover"}:
            return False
        return request.headers.get("mcp-session-id") not in self.sessions

    def _answer(self, request: web.Request, method: str, message: dict[str, Any]) -> web.StreamResponse:
        known = {"initialize": self._initialize(message), "tools/list": {"tools": TOOLS}, "tools/call": self._call(message)}
        result = {**known, **self.answers}.get(method)
        if result is ConnectionError:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        headers = {}
        if method == "initialize" and self.sessions is not None:
            headers["mcp-session-id"] = f"session-{self.seen['initialize']}"
            self.sessions.add(headers["mcp-session-id"])
        if isinstance(result, web.Response):
            return result
        if result is None:
            error = {"code": -32601, "message": "no such method"}
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)

    def _initialize(self, message: dict[str, Any]) -> dict[str, Any]:
        version = message.get("params", {}).get("protocolVersion", "2025-06-18")
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "m", "version": "1"}}

    def _call(self, message: dict[str, Any]) -> dict[str, Any]:
        arguments = message.get("params", {}).get("arguments", {})
        return {"content": [{"type": "text", "text": str(arguments.get("a", 0) + arguments.get("b", 0))}]}

    async def _hang(self) -> None:
        await self._count_hanging(1)
        try:
            await asyncio.Event().wait()
        finally:
            await self._count_hanging(-1)

    async def _count_hanging(self, by: int) -> None:
        async with self.changed:
            self.hanging += by
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, within a bound, until `condition` holds after some change in the number of hanging calls."""
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(condition)


@asynccontextmanager
async def minimal_server(server: MinimalServer | None = None, port: int = 0) -> AsyncIterator[MinimalServer]:
    """A server that listens on loopback."""
    server = server or MinimalServer()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    for path in ("/mcp", "/moved"):
        app.router.add_post(path, server.post)
        app.router.add_get(path, server.get)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    await site.start()
    server.port = runner.addresses[0][1]
    server.url = f"http://127.0.0.1:{server.port}/mcp"
    try:
        yield server
    finally:
        await runner.cleanup()
