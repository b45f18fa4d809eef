"""HTTP with server-sent events, the transport of 2024: requests are posted, every answer comes over one long GET."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from mcp.client.sse import sse_client

from trivet.tool_service.adapters.http_edge import HttpEdge, http_client
from trivet.tool_service.adapters.mcp_session import Streams
from trivet.tool_service.domain.targets import HttpEndpoint


@asynccontextmanager
async def sse(endpoint: HttpEndpoint, edge: HttpEdge) -> AsyncIterator[Streams]:
    """Connect to `endpoint`. The edge must end the session when a POST fails: its answer would never come."""

    def factory(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        return http_client(edge, endpoint.headers)  # the edge sets the timeouts, too

    async with sse_client(endpoint.url, httpx_client_factory=factory) as streams:
        yield streams
