"""Streams through the bridge: order, failures in the middle, silence, and clients that leave."""

import asyncio
import gc
import socket
from typing import Any

import aiohttp
import orjson
import pytest
from google.protobuf.message import Message

from tests.agent.neighbours import ScriptedModels, ScriptedTools, finish, role, text, tool_call
from tests.bridge.rig import KEY, bridge
from tests.checkers.chat_stream import check_chat_sse
from trivet.bridge.settings import BridgeSettings
from trivet.kernel.codec.sse import EventStream
from trivet.kernel.errors import RateLimited, UpstreamFailed

BOUND_SECONDS = 30
ANSWER = [role(), text("Hi."), finish("stop")]
RUN = {"model": "lab/m", "messages": [{"role": "user", "content": "go"}], "mcp_servers": [{"integration_fqn": "files"}]}
PATH = "/api/llm/agent/responses"
TOOLS = {"files": ["read"]}


def events(raw: bytes) -> list[Any]:
    return [orjson.loads(frame[6:]) for frame in raw.split(b"\n\n") if frame.startswith(b"data: {")]


async def test_a_run_is_a_sound_stream() -> None:
    turns = [[role(), tool_call(0, "read", "{}"), finish("tool_calls")], ANSWER]
    async with bridge(ScriptedModels(turns), ScriptedTools(TOOLS)) as rig:
        raw = await rig.raw(PATH, RUN)

    assert check_chat_sse(raw, agent=True) == []
    assert {chunk["object"] for chunk in events(raw)} == {"chat.completion.chunk"}
    assert all(chunk["system_fingerprint"] is None and chunk["service_tier"] == "default" for chunk in events(raw))


async def test_an_early_failure_keeps_its_status_and_says_when_to_come_back() -> None:
    async with bridge(ScriptedModels([[RateLimited("Too many.", retry_after=7.0)]]), ScriptedTools(TOOLS)) as rig:
        async with rig.http.post(PATH, json=RUN) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
            assert (await answer.json())["error"]["message"] == "Too many."


async def test_a_late_failure_is_an_error_event_and_the_stream_ends_properly() -> None:
    async with bridge(ScriptedModels([[role(), text("a"), UpstreamFailed("It broke.")]]), ScriptedTools(TOOLS)) as rig:
        raw = await rig.raw(PATH, RUN)

    assert events(raw)[-1]["error"]["message"] == "It broke."
    assert raw.endswith(b"data: [DONE]\n\n")


async def test_an_unknown_failure_leaks_nothing() -> None:
    class Broken(ScriptedModels):
        async def StreamChatCompletion(self, request: Any, context: Any) -> Any:
            raise RuntimeError("secret of the house")
            yield

    async with bridge(Broken([]), ScriptedTools(TOOLS)) as rig:
        status, body = await rig.post(PATH, RUN)

    assert status == 500
    assert "secret" not in str(body)


async def test_a_silent_stream_gets_heartbeats() -> None:
    gate = asyncio.Event()
    models = ScriptedModels([[role(), gate, *ANSWER[1:]]])
    async with bridge(models, ScriptedTools(TOOLS), BridgeSettings(heartbeat_seconds=0.01)) as rig:
        async with rig.http.post(PATH, json=RUN) as answer, asyncio.timeout(BOUND_SECONDS):
            seen = b""
            while seen.count(b": keep-alive\n\n") < 2:
                seen += await answer.content.readany()
            gate.set()
            seen += await answer.content.read()

    assert check_chat_sse(seen, agent=True) == []


async def test_a_stream_that_does_not_begin_is_begun_with_heartbeats() -> None:
    gate = asyncio.Event()
    settings = BridgeSettings(heartbeat_seconds=0.01, first_event_seconds=0.01)
    async with bridge(ScriptedModels([[gate, UpstreamFailed("It broke.")]]), ScriptedTools(TOOLS), settings) as rig:
        async with rig.http.post(PATH, json=RUN) as answer, asyncio.timeout(BOUND_SECONDS):
            assert answer.status == 200
            assert await answer.content.readany() == b": keep-alive\n\n"
            gate.set()
            seen = await answer.content.read()

    assert events(seen)[-1]["error"]["message"] == "It broke."


async def test_a_stream_that_does_not_begin_is_begun_before_any_heartbeat() -> None:
    gate = asyncio.Event()
    settings = BridgeSettings(first_event_seconds=0.01)
    async with bridge(ScriptedModels([[gate, *ANSWER]]), ScriptedTools(TOOLS), settings) as rig:
        async with rig.http.post(PATH, json=RUN) as answer, asyncio.timeout(BOUND_SECONDS):
            gate.set()
            seen = await answer.content.read()

    assert (answer.status, check_chat_sse(seen, agent=True)) == (200, [])
    assert b": keep-alive" not in seen


async def test_a_client_that_leaves_mid_stream_cancels_the_model() -> None:
    models = ScriptedModels([[role(), asyncio.Event()]])
    async with bridge(models, ScriptedTools(TOOLS)) as rig, asyncio.timeout(BOUND_SECONDS):
        answer = await rig.http.post(PATH, json=RUN)
        await answer.content.readany()
        answer.close()
        await models.cancelled.wait()


async def test_an_answer_that_cannot_be_written_ends_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Message] = []
    frames = EventStream.frames

    def unwritable(stream: EventStream, batch: Message) -> bytes:
        if written:
            raise ValueError("unwritable")
        written.append(batch)
        return frames(stream, batch)

    monkeypatch.setattr(EventStream, "frames", unwritable)
    models = ScriptedModels([[role(), text("a"), asyncio.Event()]])
    async with bridge(models, ScriptedTools(TOOLS)) as rig, asyncio.timeout(BOUND_SECONDS):
        with pytest.raises(aiohttp.ClientError):
            await rig.raw(PATH, RUN)
        await models.cancelled.wait()


async def test_a_client_that_leaves_a_plain_call_cancels_the_tool() -> None:
    models = ScriptedModels([[role(), tool_call(0, "read", "{}"), finish("tool_calls")], ANSWER])
    tools = ScriptedTools(TOOLS, gate=asyncio.Event())
    async with bridge(models, tools) as rig, asyncio.timeout(BOUND_SECONDS):
        waiting = asyncio.ensure_future(rig.post(PATH, {**RUN, "stream": False}))
        await tools.running.wait()
        waiting.cancel()
        await tools.cancelled.wait()


async def test_a_hundred_streams_at_once_are_each_whole() -> None:
    words = [text(f"word {index} ") for index in range(20)]
    models = ScriptedModels([[role(), *words, finish("stop")]] * 100)
    async with bridge(models, ScriptedTools(TOOLS)) as rig, asyncio.timeout(30):
        streams = await asyncio.gather(*(rig.raw(PATH, RUN) for _ in range(100)))

    assert [fault for raw in streams for fault in check_chat_sse(raw, agent=True)] == []
    assert len({events(raw)[0]["id"] for raw in streams}) == 100


async def test_a_client_that_never_reads_is_disconnected(caplog: pytest.LogCaptureFixture) -> None:
    class Flood(ScriptedModels):
        async def StreamChatCompletion(self, request: Any, context: Any) -> Any:
            try:
                async for batch in super().StreamChatCompletion(request, context):
                    yield batch
            finally:
                left.set()

    left = asyncio.Event()
    models = Flood([[role(), *[text("x" * 60_000) for _ in range(1000)], finish("stop")]])
    settings = BridgeSettings(stalled_seconds=0.2, heartbeat_seconds=0.01)
    body = orjson.dumps(RUN)
    with caplog.at_level("INFO", "trivet.access"):
        async with bridge(models, ScriptedTools(TOOLS), settings) as rig, asyncio.timeout(30):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                host, port = rig.address.split(":")
                client.connect((host, int(port)))
                head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
                client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                await left.wait()

    gc.collect()  # which is when a task tells that nobody heard its exception
    assert "status=499" in caplog.text
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_slow_reader_holds_the_model_back() -> None:
    class Flood(ScriptedModels):
        async def StreamChatCompletion(self, request: Any, context: Any) -> Any:
            async for batch in super().StreamChatCompletion(request, context):
                yield batch
            written.set()

    written = asyncio.Event()
    models = Flood([[role(), *[text("x" * 60_000) for _ in range(400)], finish("stop")]])
    async with bridge(models, ScriptedTools(TOOLS)) as rig, asyncio.timeout(30):
        async with rig.http.post(PATH, json=RUN) as answer:
            # 24 MB are more than every buffer on the way holds, so without a reader the model never gets to the end.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(written.wait(), 0.3)
            raw = await answer.content.read()

    assert written.is_set()
    assert check_chat_sse(raw, agent=True) == []
