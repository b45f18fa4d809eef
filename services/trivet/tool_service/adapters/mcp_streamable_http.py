"""Streamable HTTP, the transport of today, in both eras of the protocol."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.client.streamable_http import streamable_http_client

from trivet.tool_service.adapters.http_edge import HttpEdge, http_client
from trivet.tool_service.adapters.mcp_session import Streams
from trivet.tool_service.domain.targets import HttpEndpoint


@asynccontextmanager
async def streamable_http(endpoint: HttpEndpoint, edge: HttpEdge, max_bytes: int) -> AsyncIterator[Streams]:
    """Connect to `endpoint`; one event of a stream is at most `max_bytes` long."""
    async with (
        http_client(edge, endpoint.headers) as client,
        streamable_http_client(endpoint.url, http_client=client, max_sse_event_size=max_bytes) as streams,
    ):
        yield streams
