"""The composition root of the tool service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trivet.kernel.address_guard import AddressGuard, Resolver, resolve_host
from trivet.tool_service.adapters.mcp_connector import McpConnector
from trivet.tool_service.domain.pool import PoolLimits, ToolPool
from trivet.tool_service.domain.targets import HttpEndpoint, McpServer, Registry, StdioCommand
from trivet.tool_service.servicer import ToolServicer
from trivet.tool_service.settings import McpServerSettings, ToolSettings

_SWEEPS_PER_IDLE_TIMEOUT = 4


@asynccontextmanager
async def open_tool_service(settings: ToolSettings, *, resolve: Resolver = resolve_host) -> AsyncIterator[ToolServicer]:
    """The service over a pool of its own; its sessions, and the programs behind them, end with the context.

    `resolve` finds the addresses of hosts in URLs that requests bring.
    """
    limits = settings.limits
    guard = AddressGuard(allow_private=settings.security.allow_private_networks, resolve=resolve)
    pool = ToolPool(
        McpConnector(guard, limits.max_result_bytes),
        Registry(map(_server, settings.mcp_servers)),
        PoolLimits(limits.max_sessions, limits.idle_timeout, limits.tools_max_age),
    )
    sweeping = asyncio.create_task(_sweep(pool, limits.idle_timeout / _SWEEPS_PER_IDLE_TIMEOUT))
    try:
        yield ToolServicer(pool)
    finally:
        sweeping.cancel()
        await asyncio.wait({sweeping})
        await pool.close()


async def _sweep(pool: ToolPool, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        pool.close_idle()


def _server(settings: McpServerSettings) -> McpServer:
    endpoint: HttpEndpoint | StdioCommand
    if settings.url is not None:
        endpoint = HttpEndpoint(settings.url, {n: v.get_secret_value() for n, v in settings.headers.items()})
    else:
        env = {name: value.get_secret_value() for name, value in settings.env.items()}
        endpoint = StdioCommand(settings.command or (), env, settings.cwd)
    return McpServer(settings.name, endpoint, settings.connect_timeout, settings.call_timeout)
