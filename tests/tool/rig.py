"""What the tests of the tool service share: a pool over real servers, and the servers as child processes."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from trivet.kernel.address_guard import AddressGuard
from trivet.tool_service.adapters.mcp_connector import McpConnector
from trivet.tool_service.domain.pool import PoolLimits, ToolPool
from trivet.tool_service.domain.targets import HttpEndpoint, McpServer, Registry, StdioCommand, Target
from trivet.tool_service.domain.tools import Progress, Text, ToolCall, ToolResult

SHOWCASE = Path(__file__).parent / "servers" / "showcase.py"


@asynccontextmanager
async def pool_of(
    *servers: McpServer,
    guard: AddressGuard | None = None,
    max_result_bytes: int = 1024 * 1024,
    limits: PoolLimits = PoolLimits(),  # noqa: B008 - frozen
) -> AsyncIterator[ToolPool]:
    """A pool over real connections to `servers`, closed at the end."""
    pool = ToolPool(McpConnector(guard or AddressGuard(), max_result_bytes), Registry(servers), limits)
    try:
        yield pool
    finally:
        await asyncio.wait_for(pool.close(), 20)


def http(url: str, **headers: str) -> McpServer:
    """A registered server called `s`."""
    return McpServer("s", HttpEndpoint(url, headers))


def stdio(*command: str, **env: str) -> McpServer:
    """A registered program called `s`."""
    return McpServer("s", StdioCommand(command, env))


async def call(
    pool: ToolPool,
    tool: str,
    arguments: dict[str, Any] | None = None,
    *,
    target: Target = Target("s"),  # noqa: B008 - frozen
    principal: str = "caller",
    timeout: float | None = None,
) -> ToolResult:
    """The result of a call."""
    return (await events_of(pool, tool, arguments, target=target, principal=principal, timeout=timeout))[1]


async def events_of(
    pool: ToolPool,
    tool: str,
    arguments: dict[str, Any] | None = None,
    *,
    target: Target = Target("s"),  # noqa: B008 - frozen
    principal: str = "caller",
    timeout: float | None = None,
) -> tuple[list[Progress], ToolResult]:
    """All progress and the result of a call."""
    progress: list[Progress] = []
    async with asyncio.timeout(30):
        result = await pool.call(target, principal, ToolCall(tool, arguments or {}, timeout), progress.append)
    return progress, result


def text_of(result: ToolResult) -> str:
    """The text of a result that is nothing else."""
    (piece,) = result.content
    assert isinstance(piece, Text)
    return piece.text


class Child:
    """A showcase server over HTTP as a child process."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._before: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def start(self) -> None:
        """Start, on the port of the last time if there was one, and wait until it listens."""
        command = (sys.executable, str(SHOWCASE), self.kind, str(self.port))
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().split()[1])
        self._before.clear()

    def kill(self) -> None:
        """End at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def forget(self) -> None:
        """Count from here."""
        self._before = self._all()

    def seen(self) -> Counter[str]:
        """What the server was asked for, by method, since the start or `forget`."""
        return self._all() - self._before

    async def until_seen(self, what: str, count: int = 1) -> None:
        """Wait until the server has seen `what`, within a bound."""
        async with asyncio.timeout(30):
            while (await asyncio.to_thread(self.seen))[what] < count:
                await asyncio.sleep(0.02)

    def _all(self) -> Counter[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/seen", timeout=5) as response:
            return Counter(json.load(response))


@contextmanager
def child(kind: str) -> Iterator[Child]:
    """A running showcase server of one kind."""
    server = Child(kind)
    server.start()
    try:
        yield server
    finally:
        server.kill()
