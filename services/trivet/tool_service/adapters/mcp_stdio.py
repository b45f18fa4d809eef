"""Programs that speak MCP over their stdin and stdout."""

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TextIO

from mcp.client.stdio import StdioServerParameters, get_default_environment, stdio_client

from trivet.kernel import parent_death
from trivet.tool_service.adapters.mcp_session import Streams
from trivet.tool_service.domain.targets import StdioCommand

_log = logging.getLogger(__name__)


@asynccontextmanager
async def stdio(server: StdioCommand, name: str) -> AsyncIterator[Streams]:
    """Start the program, in a process group of its own, and end it with the context. Its stderr goes to the debug log.

    Raises:
        OSError: the program cannot be started.
    """
    program, *arguments = parent_death.bound(_find(server), *server.command[1:])
    parameters = StdioServerParameters(command=program, args=arguments, env=dict(server.env), cwd=server.cwd)
    async with _logged(name) as stderr, stdio_client(parameters, errlog=stderr) as streams:
        yield streams


def _find(server: StdioCommand) -> str:
    """The program's path: programs that were installed beside Trivet are found without an activated environment."""
    path = server.env.get("PATH") or get_default_environment().get("PATH", os.defpath)
    beside = str(Path(sys.executable).parent)
    found = shutil.which(server.command[0], path=os.pathsep.join((path, beside)))
    if found is None:
        raise FileNotFoundError(server.command[0])
    return found


@asynccontextmanager
async def _logged(name: str) -> AsyncIterator[TextIO]:
    """A file for a child's stderr; what is written to it is logged line by line."""
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0))
    copying = asyncio.create_task(_copy(reader, name))
    try:
        with os.fdopen(writing, "w") as file:
            yield file
    finally:
        copying.cancel()
        await asyncio.wait({copying})
        pipe.close()


async def _copy(reader: asyncio.StreamReader, name: str) -> None:
    while chunk := await reader.read(64 * 1024):
        for line in chunk.decode(errors="replace").splitlines():
            _log.debug("%s: %s", name, line)
