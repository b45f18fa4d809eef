"""Whether a large file passes with flat memory, up and down, in one process and in four; and what a megabyte costs.

    python -m bench.audio [MEGABYTES]

For each shape and direction: the resident memory of each process of the gateway before, and its peak, while the file passes, and
the CPU time that all of them have taken for a megabyte. `late` is a form whose fields come after the file, which goes to disk first.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.accounting import cpu_seconds, resident_bytes
from bench.site import Neighbours, answering
from bench.targets.target import KEY, Request
from bench.targets.trivet import FourProcesses, OneProcess

MEGABYTE = 1_000_000
PIECE = bytes(64 * 1024)
READY = b'{"model": "bench/m", "input": "1", "voice": "any"}'
SHAPES = (OneProcess(), ("all",)), (FourProcesses(), ("model", "tool", "agent", "bridge"))
SHOWN = ("all", "model", "bridge")


async def uploaded(http: aiohttp.ClientSession, megabytes: int, *, late: bool = False) -> None:
    async def file() -> AsyncIterator[bytes]:
        for _ in range(megabytes * MEGABYTE // len(PIECE)):
            yield PIECE

    form = aiohttp.FormData()
    if not late:
        form.add_field("model", "bench/m")
    form.add_field("file", file(), filename="long.wav", content_type="audio/wav")
    if late:
        form.add_field("model", "bench/m")
    async with http.post("/v1/audio/transcriptions", data=form) as answer:
        assert answer.status == 200, await answer.text()
        heard = (await answer.json())["text"]
    assert heard == f"{megabytes * MEGABYTE // len(PIECE) * len(PIECE)} bytes", heard


async def spoken(http: aiohttp.ClientSession, megabytes: int) -> None:
    asked = {"model": "bench/m", "input": str(megabytes), "voice": "any"}
    received = 0
    async with http.post("/v1/audio/speech", json=asked) as answer:
        assert answer.status == 200, await answer.text()
        async for data in answer.content.iter_any():
            received += len(data)
    assert received == megabytes * MEGABYTE // len(PIECE) * len(PIECE)


async def measured(name: str, processes: dict[str, int], megabytes: int, once: Callable[[], Awaitable[None]]) -> None:
    before = {part: resident_bytes(process) / 1e6 for part, process in processes.items()}
    peak = dict(before)
    spent = cpu_seconds(processes.values())

    async def watch() -> None:
        while True:
            for part, process in processes.items():
                peak[part] = max(peak[part], resident_bytes(process) / 1e6)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    await once()
    watching.cancel()
    spent = cpu_seconds(processes.values()) - spent
    told = "  ".join(f"{part} {before[part]:6.1f} -> {peak[part]:6.1f} MB" for part in processes)
    print(f"{name:<28}{spent / megabytes * 1000:6.2f} ms of CPU/MB   {told}", flush=True)


async def measure(shape: str, port: int, processes: dict[str, int], megabytes: int) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    url, timeout = f"http://127.0.0.1:{port}", aiohttp.ClientTimeout(600)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as http:
        # The first of everything imports and compiles.
        await uploaded(http, 3)
        await uploaded(http, 3, late=True)
        await spoken(http, 3)
        await measured(f"{shape}, upload", processes, megabytes, partial(uploaded, http, megabytes))
        await measured(f"{shape}, late", processes, megabytes, partial(uploaded, http, megabytes, late=True))
        await measured(f"{shape}, speech", processes, megabytes, partial(spoken, http, megabytes))


def main(megabytes: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        around = Neighbours(stack.enter_context(_upstream()), mcp=9, folder=folder, peers=folder)
        ready = Request("/v1/audio/speech", {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}, READY)
        for target, parts in SHAPES:
            with answering(target, around.site(target.name), ready) as one:
                processes = {part: process for part, process in zip(parts, one.roots, strict=True) if part in SHOWN}
                asyncio.run(measure(target.name, one.port, processes, megabytes))


@contextmanager
def _upstream() -> Iterator[int]:
    """A provider in another process: its port."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve_upstream, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


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
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
