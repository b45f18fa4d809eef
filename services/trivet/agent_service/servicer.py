"""AgentService's RPCs: read the request, gather the tools, run."""

from collections.abc import AsyncGenerator
from typing import Any

from trivet.agent.v1 import agent_service_pb2, agent_service_pb2_grpc
from trivet.agent_service import request as requests
from trivet.agent_service.conversation import Batch, ChatConversation, ModelStub
from trivet.agent_service.rendering import AgentRun
from trivet.agent_service.settings import AgentSettings
from trivet.agent_service.toolbox import ToolBoxes
from trivet.content.v1 import chat_completion_pb2
from trivet.kernel.codec.runs import More, are_accepted, more_of, without_runs
from trivet.kernel.tools.calls import ToolStub
from trivet.kernel.tools.headers import registered_headers

Request = agent_service_pb2.CreateAgentResponseRequest


class AgentServicer(agent_service_pb2_grpc.AgentServiceServicer):
    """Serves agent runs over a model stub and a tool stub."""

    def __init__(self, models: ModelStub, tools: ToolStub, settings: AgentSettings) -> None:
        self._models = models
        self._tools = ToolBoxes(tools)
        self._settings = settings

    def apply(self, settings: AgentSettings) -> None:
        """Bound runs that begin from now on by these settings."""
        self._settings = settings

    async def CreateAgentResponse(self, request: Request, context: Any) -> chat_completion_pb2.ChatCompletion:
        """Run to the end."""
        return await (await self._run(request, context)).complete()

    async def StreamAgentResponse(self, request: Request, context: Any) -> AsyncGenerator[Batch]:
        """Run, and stream what happens."""
        run = await self._run(request, context, more_of(context))
        accepts_runs = are_accepted()
        events = run.events()
        try:
            async for event in events:
                if (batch := run.chunks(event)) is not None:
                    yield batch if accepts_runs else without_runs(batch, "chunks")
        finally:
            await events.aclose()

    async def _run(self, request: Request, context: Any, more: More | None = None) -> AgentRun:
        chat = requests.chat_request(request)
        headers = registered_headers(dict(context.invocation_metadata() or ()))
        tools = await self._tools.gather(request.mcp_servers, headers)
        chat.tools.extend(tools.offer.definitions)
        limit = request.iteration_limit if request.HasField("iteration_limit") else requests.DEFAULT_ITERATION_LIMIT
        conversation = ChatConversation(self._models, chat, tools.offer.infos, more)
        return AgentRun(
            conversation,
            tools,
            request.model,
            limit,
            at_once=self._settings.max_parallel_tool_calls,
            include_usage=request.stream_options.include_usage,
        )
