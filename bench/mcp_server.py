"""The MCP server that agents call: the official SDK over streamable HTTP, with one cheap tool. `python -m bench.mcp_server PORT`.

`GET /counts` tells how often each method of MCP was called.
"""

import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

server = MCPServer("bench")


@server.tool()
async def echo(text: str) -> str:
    """Say the text again."""
    return text


class Counting:
    """Counts the methods that go to the application."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._counts: Counter[str] = Counter()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/counts":
            body = json.dumps(self._counts).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return

        async def counted() -> Message:
            message = await receive()
            if message.get("body", b"").startswith(b"{"):
                self._counts[json.loads(message["body"]).get("method", "")] += 1
            return message

        await self._application(scope, counted, send)


if __name__ == "__main__":
    uvicorn.run(Counting(server.streamable_http_app()), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
