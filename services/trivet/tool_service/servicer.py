"""ToolService: one method per RPC, in the order of the proto."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from trivet.kernel.call import current_call
from trivet.kernel.rpc import Context
from trivet.tool.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc
from trivet.tool_service import mapping
from trivet.tool_service.domain.pool import ToolPool
from trivet.tool_service.domain.relayed_progress import relayed
from trivet.tool_service.domain.session import Listing


class ToolServicer(tool_service_pb2_grpc.ToolServiceServicer):
    """Answers from a pool of sessions."""

    def __init__(self, pool: ToolPool) -> None:
        self._pool = pool
        self._told: WeakKeyDictionary[Listing, tool_service_pb2.ListToolsResponse] = WeakKeyDictionary()

    async def ListServers(
        self, request: tool_service_pb2.ListServersRequest, context: Context
    ) -> tool_service_pb2.ListServersResponse:
        return tool_service_pb2.ListServersResponse(data=map(mapping.server, self._pool.states(_principal())))

    async def ListTools(self, request: tool_service_pb2.ListToolsRequest, context: Context) -> tool_service_pb2.ListToolsResponse:
        listing = await self._pool.list_tools(mapping.target(request.server), _principal())
        told = self._told.get(listing)
        if told is None:
            told = self._told[listing] = tool_service_pb2.ListToolsResponse(data=map(mapping.tool, listing.tools))
        return told

    async def CallTool(
        self, request: tool_service_pb2.CallToolRequest, context: Context
    ) -> AsyncGenerator[tool_service_pb2.CallToolResponse, Any]:
        call = partial(self._pool.call, mapping.target(request.server), _principal(), mapping.call(request))
        async with aclosing(relayed(call)) as events:
            async for event in events:
                for response in mapping.responses(event):
                    yield response

    async def RunTool(self, request: tool_service_pb2.CallToolRequest, context: Context) -> tool_pb2.ToolResult:
        return mapping.result(await self._pool.call(mapping.target(request.server), _principal(), mapping.call(request)))


def _principal() -> str:
    """Who calls; sessions are not shared beyond it. Without authentication everybody is the same nobody."""
    call = current_call.get()
    return (call.principal if call is not None else None) or ""
