"""Whether a large file passes with flat memory, up and down, in one process and in four; and what a megabyte costs.

    .venv/bin/python -m bench.audio [MEGABYTES]

For each shape and direction: the resident memory of each process of the gateway before, and its peak, while the file passes, and
the CPU time that all of them have taken for a megabyte. `late` is a form whose fields come after the file, which goes to disk first.
"""

import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.gateway import KEY, Gateway

MEGABYTE = 1_000_000
PIECE = bytes(64 * 1024)
PARTS = ("model", "tool", "agent", "bridge")
LISTENING = ("model", "tool", "agent")


async def uploaded(http: aiohttp.ClientSession, megabytes: int, *, late: bool = False) -> None:
    async def file() -> AsyncIterator[bytes]:
        for _ in range(megabytes * MEGABYTE // len(PIECE)):
            yield PIECE

    form = aiohttp.FormData()
    if not late:
        form.add_field("model", "mock/m")
    form.add_field("file", file(), filename="long.wav", content_type="audio/wav")
    if late:
        form.add_field("model", "mock/m")
    async with http.post("/v1/audio/transcriptions", data=form) as answer:
        assert answer.status == 200, await answer.text()
        heard = (await answer.json())["text"]
    assert heard == f"{megabytes * MEGABYTE // len(PIECE) * len(PIECE)} bytes", heard


async def spoken(http: aiohttp.ClientSession, megabytes: int) -> None:
    asked = {"model": "mock/m", "input": str(megabytes), "voice": "any"}
    received = 0
    async with http.post("/v1/audio/speech", json=asked) as answer:
        assert answer.status == 200, await answer.text()
        async for data in answer.content.iter_any():
            received += len(data)
    assert received == megabytes * MEGABYTE // len(PIECE) * len(PIECE)


async def measured(name: str, processes: dict[str, Gateway], megabytes: int, once: Callable[[], Awaitable[None]]) -> None:
    before = {part: process.megabytes() for part, process in processes.items()}
    peak = dict(before)
    spent = sum(process.cpu_seconds() for process in processes.values())

    async def watch() -> None:
        while True:
            for part, process in processes.items():
                peak[part] = max(peak[part], process.megabytes())
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    await once()
    watching.cancel()
    spent = sum(process.cpu_seconds() for process in processes.values()) - spent
    told = "  ".join(f"{part} {before[part]:6.1f} -> {peak[part]:6.1f} MB" for part in processes)
    print(f"{name:<28}{spent / megabytes * 1000:6.2f} ms of CPU/MB   {told}", flush=True)


async def main(megabytes: int) -> None:
    for shape, parts in (("one process", ("all",)), ("four processes", PARTS)):
        async with gateway(parts) as (processes, http):
            shown = {part: process for part, process in processes.items() if part in ("all", "model", "bridge")}
            # The first of everything imports and compiles.
            await uploaded(http, 3)
            await uploaded(http, 3, late=True)
            await spoken(http, 3)
            await measured(f"{shape}, upload", shown, megabytes, lambda http=http: uploaded(http, megabytes))  # type: ignore[misc]
            await measured(f"{shape}, late", shown, megabytes, lambda http=http: uploaded(http, megabytes, late=True))  # type: ignore[misc]
            await measured(f"{shape}, speech", shown, megabytes, lambda http=http: spoken(http, megabytes))  # type: ignore[misc]


@asynccontextmanager
async def gateway(parts: tuple[str, ...]) -> AsyncIterator[tuple[dict[str, Gateway], aiohttp.ClientSession]]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = await stack.enter_async_context(_upstream())
        started: dict[str, asyncio.subprocess.Process] = {}
        ports, url = _free_ports(), ""
        for part in parts:
            started[part], url = await stack.enter_async_context(_part(part, folder, upstream, ports))
        http = aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=aiohttp.ClientTimeout(600))
        await stack.enter_async_context(http)
        yield {part: Gateway(process.pid, http) for part, process in started.items()}, http


def _free_ports() -> dict[str, int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in LISTENING]
    ports = {part: int(one.getsockname()[1]) for part, one in zip(LISTENING, taken, strict=True)}
    for one in taken:
        one.close()
    return ports


@asynccontextmanager
async def _part(
    part: str, folder: Path, upstream: int, ports: dict[str, int]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    config = {
        "server": {"http": "127.0.0.1:0", "grpc": f"127.0.0.1:{ports.get(part, 0)}"},
        "services": {name: f"127.0.0.1:{port}" for name, port in ports.items()},
        "auth": {"keys": [{"name": "bench", "key": KEY}]},
        "providers": [{"name": "mock", "type": "openai-chat", "base_url": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}],
        "store": {"url": f"sqlite:///{folder / 'trivet.db'}"},
    }
    file = folder / f"{part}.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("trivet")), "serve", *([] if part == "all" else [part]), "--config", str(file)]
    with (folder / f"{part}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
    try:
        yield process, await _served(process, rest=part in ("all", "bridge"))
    finally:
        process.terminate()
        await process.wait()


async def _served(process: asyncio.subprocess.Process, *, rest: bool) -> str:
    """Where the process answers, once it does."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if rest and "REST  " in line:
            return line.partition("REST  ")[2].split("/v1")[0].split("/api")[0].strip()
        if not rest and "gRPC  " in line:
            return ""
    raise RuntimeError("the gateway ended before it served")


@asynccontextmanager
async def _upstream() -> AsyncIterator[int]:
    """A provider in another process: its port."""
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
    async def hear(request: web.Request) -> web.Response:
        size = 0
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            while data := await part.read_chunk(len(PIECE)):
                size += len(data) if part.name == "file" else 0
        return web.json_response({"text": f"{size} bytes"})

    async def speak(request: web.Request) -> web.StreamResponse:
        megabytes = int((await request.json())["input"])
        response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
        await response.prepare(request)
        for _ in range(megabytes * MEGABYTE // len(PIECE)):
            await response.write(PIECE)
        return response

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/audio/transcriptions", hear)
        app.router.add_post("/v1/audio/speech", speak)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        connection.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
