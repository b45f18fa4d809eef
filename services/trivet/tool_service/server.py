"""The composition root of the tool service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from trivet.kernel.address_guard import AddressGuard, Resolver, resolve_host
from trivet.tool_service.adapters.mcp_loading import LoadingConnector
from trivet.tool_service.domain.pool import PoolLimits, ToolPool
from trivet.tool_service.domain.targets import HttpEndpoint, McpServer, Registry, StdioCommand
from trivet.tool_service.servicer import ToolServicer
from trivet.tool_service.settings import McpServerSettings, ToolSettings

_SWEEPS_PER_IDLE_TIMEOUT = 4


@dataclass(frozen=True, slots=True)
class ToolService:
    """The service of a tool process, and what there is of it to change while it runs."""

    tools: ToolServicer
    pool: ToolPool
    connector: LoadingConnector
    guard: AddressGuard
    expects_calls: bool = False

    def apply(self, settings: ToolSettings) -> None:
        """Go on with other settings. Sessions of servers that are the same stay; calls that run go on to their end."""
        before, self.guard.allow_private = self.guard.allow_private, settings.security.allow_private_networks
        self.connector.max_bytes = settings.limits.max_result_bytes
        self.pool.apply(_registry(settings), _limits(settings))
        if before != self.guard.allow_private:
            # Their addresses were judged by the other rule, and whether they may be connected to is remembered.
            self.pool.leave_guests()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """What it does unasked: where servers are registered, calls to them will come, and shall not wait for the SDK to load."""
        if not self.expects_calls:
            yield
            return
        loading = asyncio.create_task(self.connector.load())
        try:
            yield
        finally:
            await asyncio.wait({loading})

    async def hand_over(self) -> None:
        """Do nothing: there is nothing that others could go on with."""


@asynccontextmanager
async def open_tool_service(settings: ToolSettings, *, resolve: Resolver = resolve_host) -> AsyncIterator[ToolService]:
    """The service over a pool of its own; its sessions, and the programs behind them, end with the context.

    `resolve` finds the addresses of hosts in URLs that requests bring.
    """
    guard = AddressGuard(allow_private=settings.security.allow_private_networks, resolve=resolve)
    connector = LoadingConnector(guard, settings.limits.max_result_bytes)
    pool = ToolPool(connector, _registry(settings), _limits(settings))
    sweeping = asyncio.create_task(_sweep(pool))
    try:
        yield ToolService(ToolServicer(pool), pool, connector, guard, expects_calls=bool(settings.mcp_servers))
    finally:
        sweeping.cancel()
        await asyncio.wait({sweeping})
        await pool.close()


async def _sweep(pool: ToolPool) -> None:
    while True:
        await asyncio.sleep(pool.limits.idle_timeout / _SWEEPS_PER_IDLE_TIMEOUT)
        pool.close_idle()


def _limits(settings: ToolSettings) -> PoolLimits:
    limits = settings.limits
    return PoolLimits(limits.max_sessions, limits.idle_timeout, limits.tools_max_age)


def _registry(settings: ToolSettings) -> Registry:
    return Registry(map(_server, settings.mcp_servers))


def _server(settings: McpServerSettings) -> McpServer:
    endpoint: HttpEndpoint | StdioCommand
    if settings.url is not None:
        endpoint = HttpEndpoint(settings.url, {n: v.get_secret_value() for n, v in settings.headers.items()})
    else:
        env = {name: value.get_secret_value() for name, value in settings.env.items()}
        endpoint = StdioCommand(settings.command or (), env, settings.cwd)
    return McpServer(settings.name, endpoint, settings.connect_timeout, settings.call_timeout)
