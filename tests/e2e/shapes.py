"""Trivet in both of its shapes, one process and four, over upstreams and an MCP server that the test holds by the hand."""

import asyncio
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import yaml

from tests.e2e.tool_server import ToolServer
from tests.standalone.compose import KEY, ROOT, Composed, composed
from tests.standalone.running import Running
from tests.upstreams.scripted import ScriptedUpstream
from trivet.standalone.config import Config
from trivet.standalone.gateway import open_gateway

AUTHORIZATION = f"Bearer {KEY}"
SERVICES = {
    "model": "trivet.model.v1.ModelService",
    "agent": "trivet.agent.v1.AgentService",
    "tool": "trivet.tool.v1.ToolService",
}


@dataclass(frozen=True)
class World:
    """What surrounds a gateway."""

    upstream: ScriptedUpstream
    tools: ToolServer
    nobody: str
    """`HOST:PORT` where nobody listens."""

    def sections(self) -> dict[str, Any]:
        """The sections of the configuration that name the world. The providers `hasty-*` have little patience."""
        upstreams = {
            "lab": ("openai-chat", self.upstream.base_url, {}),
            "oai": ("openai-responses", self.upstream.base_url, {}),
            "hasty-lab": ("openai-chat", self.upstream.base_url, {"timeouts": {"read_seconds": 0.5}}),
            "hasty-oai": ("openai-responses", self.upstream.base_url, {"timeouts": {"read_seconds": 0.5}}),
            "gone": ("openai-chat", f"http://{self.nobody}/v1", {}),
        }
        return {
            "providers": [
                {"name": name, "type": kind, "base_url": url, "api_key": "none", **more}
                for name, (kind, url, more) in upstreams.items()
            ],
            "mcp_servers": [{"name": "tools", "url": self.tools.url}, {"name": "down", "url": f"http://{self.nobody}/mcp"}],
            "security": {"allow_private_networks": True},
        }


@dataclass(frozen=True)
class Shape:
    """A running gateway: a client session that knows the key, and a channel for each service."""

    url: str
    http: aiohttp.ClientSession
    channels: Mapping[str, grpc.aio.Channel]
    world: World
    processes: Composed | None = None

    @property
    def upstream(self) -> ScriptedUpstream:
        return self.world.upstream

    @property
    def tools(self) -> ToolServer:
        return self.world.tools

    async def post(self, path: str, body: Any, **options: Any) -> tuple[int, Any]:
        """The status and the JSON of a POST of `body` as JSON."""
        async with self.http.post(path, json=body, **options) as answer:
            return answer.status, await answer.json()

    async def raw(self, path: str, body: Any) -> bytes:
        """The whole body of a POST that answers with a stream."""
        async with self.http.post(path, json=body) as answer:
            assert answer.content_type == "text/event-stream", await answer.text()
            return await answer.read()


@asynccontextmanager
async def in_one(world: World) -> AsyncIterator[Shape]:
    """Everything in the test's own process."""
    config = Config.model_validate(
        {
            "server": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", "grace_seconds": 1},
            "auth": {"keys": [{"name": "test", "key": KEY}]},
            **world.sections(),
        }
    )
    async with open_gateway(config) as opened, _client(f"http://{opened.http}") as http:
        async with grpc.aio.insecure_channel(opened.grpc) as channel:
            yield Shape(f"http://{opened.http}", http, dict.fromkeys(SERVICES, channel), world)


@asynccontextmanager
async def in_four(world: World, folder: Path) -> AsyncIterator[Shape]:
    """The four processes of the compose file."""
    file = folder / "trivet.yaml"
    whole = yaml.safe_load((ROOT / "deploy/trivet.yaml").read_text(encoding="utf-8"))
    server = {**whole["server"], "grace_seconds": "${TRIVET_GRACE:-10}"}
    file.write_text(json.dumps({**whole, "server": server, **world.sections()}), encoding="utf-8")
    # In a thread: the loop has the world to serve meanwhile.
    entering = composed(file)
    running = await asyncio.to_thread(entering.__enter__)
    channels = {name: grpc.aio.insecure_channel(running.address(name)) for name in SERVICES}
    try:
        async with _client(running.url) as http:
            yield Shape(running.url, http, channels, world, running)
    finally:
        for channel in channels.values():
            await channel.close()
        await asyncio.to_thread(entering.__exit__, None, None, None)


@asynccontextmanager
async def alone(world: World, folder: Path, **server: Any) -> AsyncIterator[tuple[Running, Shape]]:
    """Everything in a process of its own, so that it can be told to end; with these settings of `server`."""
    file = folder / "trivet.yaml"
    listening = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", **server}
    keys = [{"name": "test", "key": KEY}]
    file.write_text(json.dumps({"server": listening, "auth": {"keys": keys}, **world.sections()}), encoding="utf-8")
    with Running(["trivet", "serve", "--config", str(file)], os.environ, folder) as process:
        said = "\n".join(await asyncio.to_thread(process.read_until, "gRPC "))
        url, address = re.findall(r"REST  (http://[^/]+)/|gRPC  (\S+)", said)
        async with _client(url[0]) as http, grpc.aio.insecure_channel(address[1]) as channel:
            yield process, Shape(url[0], http, dict.fromkeys(SERVICES, channel), world)


@contextmanager
def nobody() -> Iterator[str]:
    """An address at which connections are refused, taken so that nobody else begins to listen there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def _client(url: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(url, headers={"Authorization": AUTHORIZATION}, timeout=aiohttp.ClientTimeout(30))
