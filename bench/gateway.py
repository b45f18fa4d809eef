"""A gateway in a process of its own over an upstream in another, for benchmarks that need the whole thing."""

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

KEY = "sk-bench"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_DELTAS = 20


@dataclass(frozen=True)
class Gateway:
    """A running gateway: its process, and a session that knows its address and its key."""

    pid: int
    http: aiohttp.ClientSession

    def cpu_seconds(self) -> float:
        """The CPU time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def megabytes(self) -> float:
        """The memory of the process that is resident now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE / 1e6

    async def ask(self, path: str, body: Any) -> Any:
        """The JSON of a POST."""
        async with self.http.post(path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


@asynccontextmanager
async def gateway(**sections: Any) -> AsyncIterator[Gateway]:
    """A gateway with these sections of the configuration, and the model `mock/m`; its store is a new SQLite file."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = await stack.enter_async_context(_upstream())
        config = {
            "server": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"},
            "auth": {"keys": [{"name": "bench", "key": KEY}]},
            "providers": [{"name": "mock", "type": "openai-chat", "base_url": f"http://127.0.0.1:{port}/v1", "api_key": "none"}],
            "store": {"url": f"sqlite:///{folder / 'trivet.db'}"},
            **sections,
        }
        file = folder / "trivet.yaml"
        file.write_text(json.dumps(config), encoding="utf-8")
        program = str(Path(sys.executable).with_name("trivet"))
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                program, "serve", "--config", str(file), stdout=asyncio.subprocess.PIPE, stderr=log
            )
        try:
            url = await _address(process)
            connector = aiohttp.TCPConnector(limit=0)
            headers = {"Authorization": f"Bearer {KEY}"}
            async with aiohttp.ClientSession(url, connector=connector, headers=headers) as http:
                yield Gateway(process.pid, http)
        finally:
            process.terminate()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if found := re.search(r"REST  (http://[^/]+)/", line):
            return found[1]
    raise RuntimeError("the gateway ended before it served")


@asynccontextmanager
async def _upstream() -> AsyncIterator[int]:
    """A chat upstream in another process: its port."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve_upstream, args=(theirs,), daemon=True)
    process.start()
    try:
        yield await asyncio.to_thread(ours.recv)
    finally:
        process.terminate()
        await asyncio.to_thread(process.join)


def _serve_upstream(connection: Connection) -> None:
    async def complete(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if not asked.get("stream"):
            return web.Response(body=_WHOLE, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for frame in _FRAMES:
            await response.write(frame)
        return response

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", complete)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        connection.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


def _frame(**choice: Any) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, **choice}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


_USAGE = {"prompt_tokens": 12, "completion_tokens": 20, "total_tokens": 32}
_TEXT = "Trivet stands on three legs, each a server of its own. " * 4
_WHOLE = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
        "usage": _USAGE,
    }
).encode()
_FRAMES = [
    *(_frame(delta={"content": f"word{n} "}, finish_reason=None) for n in range(_DELTAS)),
    _frame(delta={}, finish_reason="stop") + b"data: [DONE]\n\n",
]
