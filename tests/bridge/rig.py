"""A bridge that listens on a free port, over services in this process whose models and tools play a script."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from pydantic import SecretStr
from yarl import URL

from tests.agent.neighbours import ScriptedTools
from trivet.agent.v1 import agent_service_pb2_grpc
from trivet.agent_service.server import open_agent_service
from trivet.agent_service.settings import AgentSettings
from trivet.bridge.contract import SERVICES
from trivet.bridge.server import open_bridge
from trivet.bridge.settings import BridgeSettings
from trivet.kernel.auth import KeyRing
from trivet.kernel.interceptors.validation import validation
from trivet.kernel.server import Server
from trivet.kernel.settings import AuthSettings, KeySettings, ServerSettings
from trivet.model.v1 import conversation_service_pb2_grpc, model_service_pb2_grpc
from trivet.tool.v1 import tool_service_pb2_grpc

KEY = "sk-test-0123456789"
AUTH = AuthSettings(keys=(KeySettings(name="test", key=SecretStr(KEY)),))


@dataclass(frozen=True)
class Rig:
    """A running bridge: a client session that knows the key, and the server behind."""

    http: aiohttp.ClientSession
    server: Server
    address: str

    async def post(self, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        """The status and the JSON of a POST of `body` as JSON."""
        async with self.http.post(path, **({"json": body} if body is not None else {}), **options) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, Any]:
        """The status and the JSON of a GET."""
        return await self.ask("GET", path)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """The status and the JSON of a request. The path is sent as it stands."""
        async with self.http.request(method, URL(path, encoded=True), **options) as answer:
            return answer.status, await answer.json()

    async def raw(self, path: str, body: Any) -> bytes:
        """The whole body of a POST that answers with a stream."""
        async with self.http.post(path, json=body) as answer:
            assert answer.content_type == "text/event-stream", await answer.text()
            return await answer.read()


@asynccontextmanager
async def bridge(
    models: model_service_pb2_grpc.ModelServiceServicer,
    tools: ScriptedTools,
    settings: BridgeSettings | None = None,
    *,
    conversations: conversation_service_pb2_grpc.ConversationServiceServicer | None = None,
    grace_seconds: float = 1,
) -> AsyncIterator[Rig]:
    """The bridge over these models and tools."""
    listening = ServerSettings(http="127.0.0.1:0", grpc="127.0.0.1:0", grace_seconds=grace_seconds)
    async with AsyncExitStack() as stack:
        server = Server(listening, KeyRing(AUTH), [validation])
        server.add(model_service_pb2_grpc.add_ModelServiceServicer_to_server, models)
        if conversations is not None:
            server.add(conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server, conversations)
        server.add(tool_service_pb2_grpc.add_ToolServiceServicer_to_server, tools)
        agents = await stack.enter_async_context(open_agent_service(AgentSettings(), server.channel, server.channel))
        server.add(agent_service_pb2_grpc.add_AgentServiceServicer_to_server, agents)
        await server.start()
        stack.push_async_callback(server.stop, 0)
        channels = dict.fromkeys([service.full_name for service in SERVICES], server.channel)
        opened = await stack.enter_async_context(open_bridge(settings or BridgeSettings(), listening, channels, KeyRing(AUTH)))
        session = aiohttp.ClientSession(
            f"http://{opened.address}", headers={"Authorization": f"Bearer {KEY}"}, timeout=aiohttp.ClientTimeout(10)
        )
        yield Rig(await stack.enter_async_context(session), server, opened.address)
