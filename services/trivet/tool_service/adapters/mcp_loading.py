"""The MCP SDK, loaded when it is first needed: it has half a second of imports, and 27 MB of them."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from trivet.kernel.address_guard import AddressGuard
from trivet.tool_service.domain.session import Session
from trivet.tool_service.domain.targets import McpServer

if TYPE_CHECKING:
    from trivet.tool_service.adapters.mcp_connector import McpConnector


class LoadingConnector:
    """Connects as McpConnector does, which needs the SDK; `max_bytes` is as there."""

    def __init__(self, guard: AddressGuard, max_result_bytes: int) -> None:
        self._guard = guard
        self._max_bytes = max_result_bytes
        self._loading = asyncio.Lock()
        self._connector: McpConnector | None = None

    @property
    def max_bytes(self) -> int:
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        self._max_bytes = value
        if self._connector is not None:
            self._connector.max_bytes = value

    async def connect(self, server: McpServer, on_tools_changed: Callable[[], None]) -> Session:
        """See the port."""
        connector = self._connector or await self.load()
        return await connector.connect(server, on_tools_changed)

    async def load(self) -> "McpConnector":
        """Load the SDK, in a thread, so that other calls go on meanwhile."""
        async with self._loading:
            if self._connector is None:
                module = await asyncio.to_thread(import_module, "trivet.tool_service.adapters.mcp_connector")
                self._connector = module.McpConnector(self._guard, self._max_bytes)
            return self._connector
