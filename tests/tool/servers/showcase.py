"""An MCP server on the official SDK, as a program: `showcase.py http|legacy|json|sse [PORT]` or `showcase.py stdio`.

It prints `port N` when it listens. `legacy` refuses the stateless era, `json` answers without event streams. GET /seen
counts the MCP methods that were asked for, and what happened to the tool `slow`.
"""

import base64
import json
import os
import socket
import sys
from collections import Counter
from typing import Annotated, Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.utilities.types import Image
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import AudioContent, EmbeddedResource, ResourceLink, TextResourceContents
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

server = MCPServer("showcase", log_level="CRITICAL")
seen: Counter[str] = Counter()


class Point(BaseModel):
    x: int
    y: int


@server.tool()
def add(a: int, b: int) -> str:
    """Add two integers."""
    return str(a + b)


@server.tool()
async def slow(ctx: Context[Any, Any], steps: int = 2) -> str:
    """Report progress, then never end by itself."""
    seen["slow started"] += 1
    try:
        for step in range(steps):
            await ctx.report_progress(step + 1, steps, f"step {step + 1}")
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        seen["slow cancelled"] += 1
        raise
    return "never"


@server.tool()
async def steps(ctx: Context[Any, Any], count: int) -> str:
    """Report progress and end."""
    for step in range(count):
        await ctx.report_progress(step + 1, count, f"step {step + 1}")
    return "done"


@server.tool()
def point(x: int, y: int) -> Point:
    """Structured."""
    return Point(x=x, y=y)


@server.tool(structured_output=False)
def gallery() -> list[Any]:
    """All kinds of content."""
    return [
        "a text",
        Image(data=b"\x89PNG", format="png"),
        AudioContent(type="audio", data=base64.b64encode(b"RIFF").decode(), mime_type="audio/wav"),
        ResourceLink(type="resource_link", uri="file:///a.txt", name="a.txt", mime_type="text/plain"),
        EmbeddedResource(type="resource", resource=TextResourceContents(uri="file:///b.txt", text="inside")),
    ]


@server.tool()
def fail(why: str) -> str:
    """Fail."""
    raise ToolError(why)


@server.tool()
def big(size: int) -> str:
    """A long text."""
    return "x" * size


@server.tool()
async def grow(ctx: Context[Any, Any], name: str) -> str:
    """Add a tool and say so."""
    server.add_tool(lambda: "new", name=name, description="grown")
    if ctx.protocol_version == "2026-07-28":
        await ctx.notify_tools_changed()
    else:
        await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
def header(ctx: Context[Any, Any], name: str) -> str:
    """What the client sent."""
    return (ctx.headers or {}).get(name, "")


@server.tool()
def where(ctx: Context[Any, Any], region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """An argument that travels as a header, too, where the era knows of such."""
    return (ctx.headers or {}).get("mcp-param-region", region)


@server.tool()
def rewrite() -> str:
    """Change the schema of another tool, and tell nobody."""
    server.remove_tool("where_else")
    server.add_tool(where, name="where_else", description="changed")
    return "changed"


@server.tool()
def where_else(region: str) -> str:
    """What `rewrite` changes."""
    return region


@server.tool()
async def ask(ctx: Context[Any, Any]) -> str:
    """Ask the client's user something."""
    answer = await ctx.elicit("your name?", Name)
    return answer.action


class Name(BaseModel):
    name: str


@server.tool()
def pid() -> str:
    """Which process this is."""
    return str(os.getpid())


@server.tool()
def whisper(text: str) -> str:
    """Write to stderr."""
    print(text, file=sys.stderr, flush=True)
    return "said"


class Observed:
    """ASGI middleware that counts methods and, for a server of the handshake era, refuses the later one."""

    def __init__(self, app: Any, *, legacy: bool) -> None:
        self._app = app
        self._legacy = legacy

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] == "/seen" or scope["method"] != "POST":
            if scope.get("path") == "/seen":
                await JSONResponse(dict(seen))(scope, receive, send)
            else:
                await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        seen[json.loads(body).get("method", "answer")] += 1
        if self._legacy and dict(scope["headers"]).get(b"mcp-protocol-version") == b"2026-07-28":
            await Response("unsupported", 400)(scope, receive, send)
            return
        replayed = False

        async def replay() -> Any:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


def serve(kind: str, port: int) -> None:
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    if kind == "sse":
        app: Any = server.sse_app(sse_path="/mcp", transport_security=security)
    else:
        app = server.streamable_http_app(json_response=kind == "json", transport_security=security)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    print("port", listening.getsockname()[1], flush=True)
    config = uvicorn.Config(Observed(app, legacy=kind in {"legacy", "json"}), log_level="error", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        serve(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
