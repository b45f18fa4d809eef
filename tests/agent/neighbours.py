"""AgentService's neighbours as servicers that play a script, served like the real ones."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from trivet.agent.v1 import agent_service_pb2_grpc
from trivet.agent_service.server import open_agent_service
from trivet.agent_service.settings import AgentSettings
from trivet.content.v1 import chat_completion_pb2, chat_request_pb2
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import McpServerNotFound, ServiceError
from trivet.kernel.testing import Transport, serving
from trivet.model.v1 import model_service_pb2_grpc
from trivet.tool.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc

Chunk = dict[str, Any]
Turn = Sequence[Chunk | ServiceError | asyncio.Event]


def text(content: str) -> Chunk:
    """A chunk of text."""
    return {"choices": [{"index": 0, "delta": {"content": content}}]}


def role() -> Chunk:
    """The chunk that begins a message."""
    return {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}


def tool_call(index: int, name: str, arguments: str) -> Chunk:
    """A chunk with a whole tool call."""
    call = {"index": index, "id": f"call_{index}", "type": "function"}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [{**call, "function": {"name": name, "arguments": arguments}}]}}]}


def finish(reason: str) -> Chunk:
    """The chunk that ends a message."""
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def usage(prompt: int, completion: int, **details: int) -> Chunk:
    """The chunk that carries usage."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"choices": [], "usage": {**counts, "prompt_tokens_details": details} if details else counts}


@dataclass
class ScriptedModels(model_service_pb2_grpc.ModelServiceServicer):
    """Streams its turns in order; an error in a turn is raised there, an event is waited for.

    `together` sends the chunks of a turn in one message, or as many as there are before such a step.
    """

    turns: list[Turn]
    together: bool = False
    requests: list[chat_request_pb2.CreateChatCompletionRequest] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def StreamChatCompletion(self, request: Any, context: Any) -> AsyncGenerator[Any]:
        kept = chat_request_pb2.CreateChatCompletionRequest()
        kept.CopyFrom(request)
        self.requests.append(kept)
        first = chat_completion_pb2.ChatCompletionChunkBatch(id="upstream", created=1, model="m", service_tier="default")
        try:
            for step in self.turns[len(self.requests) - 1]:
                if isinstance(step, dict):
                    first.chunks.append(codec_for(chat_completion_pb2.ChatCompletionChunk).decode(step))
                if first.chunks and not (self.together and isinstance(step, dict)):
                    yield first
                    first = chat_completion_pb2.ChatCompletionChunkBatch()
                if isinstance(step, ServiceError):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
            if first.chunks:
                yield first
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


Answer = Callable[[tool_service_pb2.CallToolRequest], tool_pb2.ToolResult | ServiceError]


@dataclass
class ScriptedTools(tool_service_pb2_grpc.ToolServiceServicer):
    """Servers with tools of the given names, whose calls `answer` answers."""

    servers: dict[str, list[str]]
    answer: Answer = lambda request: result(f"{request.tool} ran")
    listed: list[tool_pb2.ServerRef] = field(default_factory=list)
    called: list[tool_service_pb2.CallToolRequest] = field(default_factory=list)
    gate: asyncio.Event | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Event = field(default_factory=asyncio.Event)

    async def ListTools(self, request: Any, context: Any) -> tool_service_pb2.ListToolsResponse:
        self.listed.append(request.server)
        name = request.server.name or request.server.url
        if name not in self.servers:
            raise McpServerNotFound(name, "server.name")
        tools = [
            tool_pb2.Tool(name=tool, description=f"does {tool}", input_schema='{"type":"object"}') for tool in self.servers[name]
        ]
        return tool_service_pb2.ListToolsResponse(data=tools)

    async def RunTool(self, request: Any, context: Any) -> tool_pb2.ToolResult:
        self.called.append(request)
        self.running.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        answer = self.answer(request)
        if isinstance(answer, ServiceError):
            raise answer
        return answer


def result(content: str, *, is_error: bool = False) -> tool_pb2.ToolResult:
    """A result of one piece of text."""
    piece = tool_pb2.ToolContent(text=tool_pb2.ToolText(text=content))
    return tool_pb2.ToolResult(content=[piece], is_error=is_error)


@asynccontextmanager
async def agent(
    models: ScriptedModels, tools: ScriptedTools, transport: Transport = "in-process"
) -> AsyncIterator[agent_service_pb2_grpc.AgentServiceStub]:
    """A stub of AgentService between these neighbours, every hop over `transport`."""
    async with (
        serving(model_service_pb2_grpc.add_ModelServiceServicer_to_server, models, transport=transport) as to_models,
        serving(tool_service_pb2_grpc.add_ToolServiceServicer_to_server, tools, transport=transport) as to_tools,
        open_agent_service(AgentSettings(), to_models, to_tools) as servicer,
        serving(agent_service_pb2_grpc.add_AgentServiceServicer_to_server, servicer, transport=transport) as channel,
    ):
        yield agent_service_pb2_grpc.AgentServiceStub(channel)


def chunks(batches: Sequence[chat_completion_pb2.ChatCompletionChunkBatch]) -> list[Chunk]:
    """The chunks of a stream as a REST client sees them."""
    common: Chunk = {}
    seen: list[Chunk] = []
    for batch in batches:
        encoded = codec_for(chat_completion_pb2.ChatCompletionChunkBatch).encode(batch)
        of_batch = encoded.pop("chunks", [])
        common.update({key: value for key, value in encoded.items() if value is not None})
        seen += [{**common, **chunk} for chunk in of_batch]
    return seen
