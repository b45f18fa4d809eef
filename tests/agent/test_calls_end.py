"""Calls that a run no longer needs end at once, not when they are forgotten: here somebody always remembers them."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.agent.neighbours import ScriptedModels, ScriptedTools, result, role
from trivet.agent.v1 import agent_service_pb2
from trivet.agent_service.conversation import ChatConversation, ModelStub
from trivet.agent_service.offers import Offer
from trivet.agent_service.toolbox import RunTools, ToolBoxes
from trivet.content.v1 import chat_request_pb2
from trivet.kernel.errors import McpServerNotFound
from trivet.kernel.loop import ToolCall
from trivet.kernel.testing import serving
from trivet.kernel.tools.calls import ToolStub
from trivet.kernel.tools.names import ToolKey
from trivet.model.v1 import model_service_pb2_grpc
from trivet.tool.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc

BOUND_SECONDS = 30


def remembered(method: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def call(request: Any, **options: Any) -> Any:
        calls.append(method(request, **options))
        return calls[-1]

    return call


async def test_a_turn_that_is_closed_ends_its_model_call() -> None:
    models = ScriptedModels([[role(), asyncio.Event()]])
    calls: list[Any] = []
    async with (
        asyncio.timeout(BOUND_SECONDS),
        serving(model_service_pb2_grpc.add_ModelServiceServicer_to_server, models) as channel,
    ):
        method = model_service_pb2_grpc.ModelServiceStub(channel).StreamChatCompletion
        stub = cast("ModelStub", SimpleNamespace(StreamChatCompletion=remembered(method, calls)))
        batches = ChatConversation(stub, chat_request_pb2.CreateChatCompletionRequest(model="lab/m"), {}).turn().batches()
        await anext(batches)
        await batches.aclose()
        await models.cancelled.wait()


class Lingering(ScriptedTools):
    """Calls a tool, and lists the tools of the server `slow`, for ever."""

    async def ListTools(self, request: Any, context: Any) -> tool_service_pb2.ListToolsResponse:
        if request.server.name == "slow":
            self.running.set()
            await self._for_ever()
        await self.running.wait()
        raise McpServerNotFound(request.server.name, "server.name")

    async def RunTool(self, request: Any, context: Any) -> tool_pb2.ToolResult:
        self.running.set()
        await self._for_ever()
        return result("done")

    async def _for_ever(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def test_a_run_that_is_left_ends_its_tool_call() -> None:
    tools = Lingering({})
    calls: list[Any] = []
    async with (
        asyncio.timeout(BOUND_SECONDS),
        serving(tool_service_pb2_grpc.add_ToolServiceServicer_to_server, tools) as channel,
    ):
        stub = SimpleNamespace(RunTool=remembered(tool_service_pb2_grpc.ToolServiceStub(channel).RunTool, calls))
        key = ToolKey(0, "files", "read")
        run = RunTools(cast("ToolStub", stub), [tool_pb2.ServerRef(name="files")], Offer({"read": (key, tool_pb2.Tool())}))
        calling = asyncio.create_task(run.call(ToolCall("call_0", "read", "{}")))
        await tools.running.wait()
        calling.cancel()
        await tools.cancelled.wait()


async def test_a_server_that_fails_ends_the_listing_of_the_others() -> None:
    tools = Lingering({})
    calls: list[Any] = []
    servers = [agent_service_pb2.McpServer(integration_fqn=name) for name in ("slow", "gone")]
    async with (
        asyncio.timeout(BOUND_SECONDS),
        serving(tool_service_pb2_grpc.add_ToolServiceServicer_to_server, tools) as channel,
    ):
        stub = SimpleNamespace(ListTools=remembered(tool_service_pb2_grpc.ToolServiceStub(channel).ListTools, calls))
        with pytest.raises(McpServerNotFound):
            await ToolBoxes(cast("ToolStub", stub)).gather(servers, {})
        await tools.cancelled.wait()
