"""The composition root of AgentService."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from trivet.agent_service.servicer import AgentServicer
from trivet.agent_service.settings import AgentSettings
from trivet.model.v1 import model_service_pb2_grpc
from trivet.tool.v1 import tool_service_pb2_grpc


@asynccontextmanager
async def open_agent_service(
    settings: AgentSettings, models: grpc.aio.Channel, tools: grpc.aio.Channel
) -> AsyncIterator[AgentServicer]:
    """AgentService over channels to ModelService and ToolService, which stay the caller's to close."""
    yield AgentServicer(model_service_pb2_grpc.ModelServiceStub(models), tool_service_pb2_grpc.ToolServiceStub(tools), settings)
