"""Processes that are killed, told to end and started again, with streams under way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.checkers.chat_stream import check_chat_sse
from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.answers import begun
from tests.e2e.bodies import PATHS, body
from tests.e2e.frames import data_of, read_until
from tests.e2e.rpcs import AGENT
from tests.e2e.runs import DONE, calling, play, run
from tests.e2e.shapes import SERVICES, Shape, World, alone, in_four
from tests.standalone.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOUND = 60
SAID = {"responses": check_responses_sse, "chat": check_chat_sse, "agent": lambda raw: check_chat_sse(raw, agent=True)}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def four_of_this_module(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shape]:
    async with in_four(world, tmp_path_factory.mktemp("processes")) as shape:
        yield shape


@pytest_asyncio.fixture(loop_scope="session")
async def four(four_of_this_module: Shape) -> Shape:
    """Four processes that serve: each test starts again what it has ended, and here what one that failed has left."""
    assert four_of_this_module.processes is not None
    for name, running in list(four_of_this_module.processes.processes.items()):
        if running.ending:
            await asyncio.to_thread(running.wait)
            await restart(four_of_this_module, name)
    return four_of_this_module


def process(shape: Shape, name: str) -> Running:
    assert shape.processes is not None
    return shape.processes.processes[name]


async def restart(shape: Shape, name: str) -> None:
    """Start the service again, and wait until the others have found it."""
    assert shape.processes is not None
    await asyncio.to_thread(shape.processes.start, name)
    async with asyncio.timeout(BOUND):
        while not await _answers(shape):
            await asyncio.sleep(0.05)


async def _answers(shape: Shape) -> bool:
    """Whether the bridge reaches every service, and a run goes through all of them: the agent has channels of its own."""
    shape.upstream.forget()
    play(shape.upstream, calling(("add", {"a": 1, "b": 1})), DONE)
    try:
        async with shape.http.get("/readyz") as ready:
            if ready.status != 200:
                return False
        async with shape.http.post(PATHS["agent"], json=run()) as given:
            return b'"content":"2"' in await given.read()
    except aiohttp.ClientError:
        return False


async def heard(stack: AsyncExitStack, shape: Shape, face: str, gate: asyncio.Event) -> tuple[aiohttp.ClientResponse, bytes]:
    """A stream that has begun and goes on at the gate, and what came of it."""
    said = DONE.script("lab", streamed=True)
    shape.upstream.play(*said[:3], gate, *said[3:])
    given = await stack.enter_async_context(shape.http.post(PATHS[face], json=body(face, "lab/m", streamed=True)))
    return given, await read_until(given, b"All ")


async def test_a_changed_file_is_followed_by_each_process_and_its_streams_go_on(four: Shape) -> None:
    assert four.processes is not None
    before = four.processes.config.read_text(encoding="utf-8")
    gate = asyncio.Event()
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        streams = {face: await heard(stack, four, face, gate) for face in PATHS}
        await _follow(four, before.replace('"lab"', '"fresh"'))

        four.upstream.play(DONE.script("lab", streamed=False))
        assert (await four.post(PATHS["chat"], body("chat", "fresh/m", streamed=False)))[0] == 200
        assert (await four.post(PATHS["chat"], body("chat", "lab/m", streamed=False)))[0] == 404
        gate.set()
        ended = {face: seen + await given.content.read() for face, (given, seen) in streams.items()}

    assert {face: SAID[face](raw) for face, raw in ended.items()} == {face: [] for face in PATHS}
    assert all(b"done." in raw for raw in ended.values())
    await _follow(four, before)


async def _follow(shape: Shape, text: str) -> None:
    """Write the file, and wait until each process has put it in force."""
    assert shape.processes is not None
    await asyncio.to_thread(shape.processes.config.write_text, text, encoding="utf-8")
    for running in shape.processes.processes.values():
        await asyncio.to_thread(running.read_until, "configuration reloaded")


async def test_streams_end_with_an_error_when_the_model_service_is_killed_and_it_is_found_again(four: Shape) -> None:
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        streams = {face: await heard(stack, four, face, asyncio.Event()) for face in PATHS}
        await asyncio.to_thread(process(four, "model").kill)
        ended = {face: seen + await given.content.read() for face, (given, seen) in streams.items()}

        assert {face: raw.endswith(b"data: [DONE]\n\n") for face, raw in ended.items()} == dict.fromkeys(PATHS, True)
        assert {data_of(raw)[-1]["error"]["code"] for raw in ended.values()} == {"overloaded"}
        status, told = await four.post(PATHS["chat"], body("chat", "lab/m", streamed=False))
        assert (status, told["error"]["code"]) == (503, "overloaded")
    await restart(four, "model")


async def test_a_run_ends_with_an_error_when_the_agent_service_is_killed(four: Shape) -> None:
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        given, seen = await heard(stack, four, "agent", asyncio.Event())
        await asyncio.to_thread(process(four, "agent").kill)
        seen += await given.content.read()

        assert data_of(seen)[-1]["error"]["code"] == "overloaded"
        assert seen.endswith(b"data: [DONE]\n\n")
        await four.upstream.until(lambda: four.upstream.abandoned == 1)
    await restart(four, "agent")


async def test_a_run_goes_on_when_the_tool_service_is_killed(four: Shape) -> None:
    play(four.upstream, calling(("gated", {})), DONE)
    async with asyncio.timeout(BOUND), four.http.post(PATHS["agent"], json=run()) as given:
        await four.tools.until(lambda: four.tools.running == 1)
        await asyncio.to_thread(process(four, "tool").kill)
        raw = await given.read()

    assert check_chat_sse(raw, agent=True) == []
    assert b'"content":"{\\"error\\":' in raw
    assert b"done." in raw
    status, told = await four.post(PATHS["agent"], run())
    assert (status, told["error"]["code"]) == (503, "overloaded")
    await restart(four, "tool")


async def test_the_upstream_is_left_when_the_bridge_is_killed(four: Shape) -> None:
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        given, _ = await heard(stack, four, "agent", asyncio.Event())
        await asyncio.to_thread(process(four, "bridge").kill)
        with pytest.raises(aiohttp.ClientError):
            await given.content.read()
        await four.upstream.until(lambda: four.upstream.abandoned == 1)
    await restart(four, "bridge")


async def test_a_bridge_that_is_told_to_end_finishes_its_streams_and_takes_no_more(four: Shape) -> None:
    gate = asyncio.Event()
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        streams = {face: await heard(stack, four, face, gate) for face in PATHS}
        process(four, "bridge").terminate()
        await _until_refused(four)
        gate.set()
        ended = {face: seen + await given.content.read() for face, (given, seen) in streams.items()}
        code = await asyncio.to_thread(process(four, "bridge").wait)

    assert {face: SAID[face](raw) for face, raw in ended.items()} == {face: [] for face in PATHS}
    assert code == 0
    await restart(four, "bridge")


async def test_a_bridge_ends_the_streams_that_outlast_its_grace_with_an_error(
    four: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIVET_GRACE", "0.5")
    await asyncio.to_thread(process(four, "bridge").stop)
    await restart(four, "bridge")
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        streams = {face: await heard(stack, four, face, asyncio.Event()) for face in PATHS}
        four.upstream.play(asyncio.Event())
        asked = len(four.upstream.requests)
        plain = asyncio.create_task(four.post(PATHS["chat"], body("chat", "lab/m", streamed=False)))
        await four.upstream.until(lambda: len(four.upstream.requests) == asked + 1)
        process(four, "bridge").terminate()
        ended = {face: seen + await given.content.read() for face, (given, seen) in streams.items()}
        status, told = await plain
        code = await asyncio.to_thread(process(four, "bridge").wait)

    assert {face: raw.endswith(b"data: [DONE]\n\n") for face, raw in ended.items()} == dict.fromkeys(PATHS, True)
    assert {data_of(raw)[-1]["error"]["code"] for raw in ended.values()} == {"overloaded"}
    assert (status, told["error"]["code"]) == (503, "overloaded")
    assert code == 0
    monkeypatch.undo()
    await restart(four, "bridge")


@pytest.mark.parametrize("name", ["model", "agent"])
async def test_a_service_that_is_told_to_end_finishes_its_streams_and_takes_no_more(four: Shape, name: str) -> None:
    gate = asyncio.Event()
    watching = health_pb2_grpc.HealthStub(four.channels[name]).Watch(health_pb2.HealthCheckRequest(service=SERVICES[name]))
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        given, seen = await heard(stack, four, "agent", gate)
        process(four, name).terminate()
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        status, told = await four.post(PATHS["agent"], run())
        assert (status, told["error"]["code"]) == (503, "overloaded")
        gate.set()
        seen += await given.content.read()
        code = await asyncio.to_thread(process(four, name).wait)

    assert check_chat_sse(seen, agent=True) == []
    assert code == 0
    await restart(four, name)


async def test_a_stream_that_outlasts_the_grace_is_ended_with_an_error(world: World, tmp_path: Path) -> None:
    async with alone(world, tmp_path, grace_seconds=0.5) as (serving, shape):
        async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
            streams = {face: await heard(stack, shape, face, asyncio.Event()) for face in PATHS}
            call = AGENT.call(shape, run())
            shape.upstream.play(*begun("lab", asyncio.Event()))
            await call.read()
            serving.terminate()
            ended = {face: seen + await given.content.read() for face, (given, seen) in streams.items()}
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _read_all(call)
            code = await asyncio.to_thread(serving.wait)

    assert {face: raw.endswith(b"data: [DONE]\n\n") for face, raw in ended.items()} == dict.fromkeys(PATHS, True)
    assert {data_of(raw)[-1]["error"]["code"] for raw in ended.values()} == {"overloaded"}
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert code == 0


async def _until_refused(shape: Shape) -> None:
    async with asyncio.timeout(BOUND):
        while True:
            try:
                async with aiohttp.ClientSession() as stranger, stranger.get(f"{shape.url}/readyz"):
                    await asyncio.sleep(0.02)
            except aiohttp.ClientError:
                return


async def _read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass
