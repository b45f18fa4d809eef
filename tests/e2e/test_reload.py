"""The configuration of a gateway changes while it serves: what runs goes on as it began, what comes finds what is new."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from tests.checkers.chat_stream import check_chat_sse
from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.answers import Answer, Call
from tests.e2e.bodies import PATHS, body
from tests.e2e.frames import Json, data_of, read_until
from tests.e2e.rig import KEY, Rig, config, gateway
from tests.e2e.runs import DONE, calling, play, results, run
from tests.e2e.tool_server import ToolServer, tool_server
from tests.upstreams.scripted import answer
from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.standalone.config import Config

BOUND = 60
OTHER_KEY = "sk-other-0123456789"
OTHER = {"Authorization": f"Bearer {OTHER_KEY}"}
CHECKS: dict[str, Callable[[bytes], list[Any]]] = {
    "responses": check_responses_sse,
    "chat": check_chat_sse,
    "agent": lambda raw: check_chat_sse(raw, agent=True),
}


def provider(rig: Rig, name: str = "lab", **more: Any) -> Json:
    return {"name": name, "type": "openai-chat", "base_url": rig.upstream.base_url, "api_key": "none", **more}


@asynccontextmanager
async def gateway_with_tools(folder: Path) -> AsyncIterator[tuple[Rig, ToolServer]]:
    """A gateway that keeps its responses in this folder, with the registered server `tools`."""
    kept = {"url": f"sqlite:///{folder}/trivet.db"}
    async with tool_server() as server, gateway(store=kept, mcp_servers=[{"name": "tools", "url": server.url}]) as rig:
        yield rig, server


async def begun(stack: AsyncExitStack, rig: Rig, path: str, asked: Json, gate: asyncio.Event) -> aiohttp.ClientResponse:
    """A stream whose answer has begun, and goes on at the gate."""
    said = DONE.script("lab", streamed=True)
    rig.upstream.play(*said[:3], gate, *said[3:])
    given = await stack.enter_async_context(rig.http.post(path, json=asked, headers={"Connection": "close"}))
    assert given.status == 200, await given.text()
    return given


async def of_strangers(rig: Rig, path: str = "/v1/models", **options: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession(str(rig.http._base_url)) as http, http.get(path, **options) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("face", PATHS)
async def test_a_stream_goes_on_to_its_end_though_its_provider_is_removed(tmp_path: Path, face: str) -> None:
    gate = asyncio.Event()
    async with asyncio.timeout(BOUND), gateway_with_tools(tmp_path) as (rig, _), AsyncExitStack() as stack:
        given = await begun(stack, rig, PATHS[face], body(face, "lab/m", streamed=True), gate)
        seen = await read_until(given, b"All ")

        await rig.gateway.apply(config(rig.upstream, providers=[provider(rig, "new")]))

        status, told = await rig.post(PATHS[face], body(face, "lab/m", streamed=False))
        assert (status, told["error"]["code"]) == (404, "model_not_found")
        rig.upstream.play(DONE.script("lab", streamed=face == "agent"))
        assert (await rig.post(PATHS[face], body(face, "new/m", streamed=False)))[0] == 200
        gate.set()
        seen += await given.content.read()
        assert CHECKS[face](seen) == []
        assert b"done." in seen
        # The removed one's connections are closed behind it; the other keeps its own for the next call.
        await rig.upstream.until(lambda: rig.upstream.open == 1)


async def test_a_stream_over_grpc_goes_on_to_its_end_though_its_provider_and_its_key_are_removed() -> None:
    gate = asyncio.Event()
    async with asyncio.timeout(BOUND), gateway() as rig, grpc.aio.insecure_channel(rig.gateway.grpc) as channel:
        said = DONE.script("lab", streamed=True)
        rig.upstream.play(*said[:3], gate, *said[3:])
        method = channel.unary_stream(
            "/trivet.model.v1.ModelService/StreamChatCompletion",
            CreateChatCompletionRequest.SerializeToString,
            ChatCompletionChunkBatch.FromString,
        )
        asked = codec_for(CreateChatCompletionRequest).decode(body("chat", "lab/m", streamed=True))
        call = aiter(method(asked, metadata=(("authorization", f"Bearer {KEY}"),)))
        batches = [await anext(call)]
        await rig.gateway.apply(config(rig.upstream, providers=[], auth={"keys": [{"name": "other", "key": OTHER_KEY}]}))
        gate.set()
        batches += [batch async for batch in call]

    said_at_all = [choice.delta.content for batch in batches for chunk in batch.chunks for choice in chunk.choices]
    assert "".join(said_at_all) == "All done."


async def test_the_turns_of_a_run_ask_the_provider_that_it_began_with(tmp_path: Path) -> None:
    async with asyncio.timeout(BOUND), gateway_with_tools(tmp_path) as (rig, tools):
        again = Answer(calls=(Call("call_1", "add", '{"a": 1, "b": 2}'),))
        play(rig.upstream, calling(("gated", {})), again, DONE)
        async with rig.http.post(PATHS["agent"], json=run()) as given:
            await tools.until(lambda: tools.running == 1)
            servers = [{"name": "tools", "url": tools.url}]
            changed = {"auth": {"keys": [{"name": "other", "key": OTHER_KEY}]}, "mcp_servers": servers}
            await rig.gateway.apply(config(rig.upstream, providers=[], **changed))
            tools.open_gate()
            raw = await given.read()

        assert CHECKS["agent"](raw) == []
        assert results(data_of(raw)) == {"call_0": "through the gate", "call_1": "3"}
        assert b"done." in raw
        await rig.upstream.until(lambda: rig.upstream.open == 0)


@pytest.mark.parametrize("background", [False, True])
async def test_a_response_with_tools_is_made_to_its_end_by_the_provider_that_it_began_with(
    tmp_path: Path, background: bool
) -> None:
    tool = {"type": "mcp", "server_label": "sums", "connector_id": "tools", "require_approval": "never"}
    asked = {"model": "lab/m", "input": "go", "stream": True, "background": background, "tools": [tool]}
    async with asyncio.timeout(BOUND), gateway_with_tools(tmp_path) as (rig, tools):
        play(rig.upstream, calling(("gated", {})), DONE)
        async with rig.http.post(PATHS["responses"], json=asked) as given:
            await tools.until(lambda: tools.running == 1)
            await rig.gateway.apply(config(rig.upstream, providers=[]))
            tools.open_gate()
            raw = await given.read()

        assert check_responses_sse(raw) == []
        assert data_of(raw)[-1]["response"]["status"] == "completed"
        await rig.upstream.until(lambda: rig.upstream.open == 0)


async def test_an_unchanged_provider_keeps_its_connections(tmp_path: Path) -> None:
    async with asyncio.timeout(BOUND), gateway_with_tools(tmp_path) as (rig, _):
        for _ in range(2):
            rig.upstream.play(DONE.script("lab", streamed=False))
            assert (await rig.post(PATHS["chat"], body("chat", "lab/m", streamed=False)))[0] == 200
            await rig.gateway.apply(config(rig.upstream, agent={"max_parallel_tool_calls": 3}))

        assert (rig.upstream.connections, rig.upstream.open) == (1, 1)


async def test_a_provider_with_another_key_is_asked_with_it(tmp_path: Path) -> None:
    async with asyncio.timeout(BOUND), gateway_with_tools(tmp_path) as (rig, _):
        await rig.gateway.apply(config(rig.upstream, providers=[provider(rig, api_key="sk-rotated")]))
        rig.upstream.play(DONE.script("lab", streamed=False))
        assert (await rig.post(PATHS["chat"], body("chat", "lab/m", streamed=False)))[0] == 200

        assert rig.upstream.requests[-1].headers["authorization"] == "Bearer sk-rotated"


async def test_a_model_of_ones_own_that_comes_later_is_routed_and_its_targets_are_watched(tmp_path: Path) -> None:
    async with asyncio.timeout(BOUND), gateway_with_tools(tmp_path) as (rig, _):
        at_once = {"attempts": 1}
        targets = [{"model": "lab/first", "retry": at_once}, {"model": "lab/second", "priority": 1, "retry": at_once}]
        await rig.gateway.apply(config(rig.upstream, models=[{"name": "smart", "targets": targets}]))
        asked = body("chat", "smart", streamed=False)
        for _ in range(2):
            rig.upstream.play(answer({"error": {"message": "down"}}, status=500))
            rig.upstream.play(DONE.script("lab", streamed=False))
            assert (await rig.post(PATHS["chat"], asked))[0] == 200
        # Two failures have opened the circuit of the first target: the second one is asked at once.
        rig.upstream.play(DONE.script("lab", streamed=False))
        assert (await rig.post(PATHS["chat"], asked))[0] == 200

        models = [request.body["model"] for request in rig.upstream.requests]
        assert models == ["first", "second", "first", "second", "second"]


async def test_a_key_that_is_gone_is_refused_and_a_new_one_is_let_in() -> None:
    async with asyncio.timeout(BOUND), gateway() as rig, AsyncExitStack() as stack:
        socket = await stack.enter_async_context(rig.http.ws_connect("/v1/responses"))
        rig.upstream.play(DONE.script("lab", streamed=True))
        asked = {"type": "response.create", "model": "lab/m", "input": "go", "store": False}
        await socket.send_json(asked)
        while (await socket.receive_json())["type"] != "response.completed":
            pass
        assert (await of_strangers(rig, headers=OTHER))[0] == 401

        await rig.gateway.apply(config(rig.upstream, auth={"keys": [{"name": "other", "key": OTHER_KEY}]}))

        assert (await rig.post(PATHS["chat"], body("chat", "lab/m", streamed=False)))[0] == 401
        assert (await of_strangers(rig, headers={"Authorization": f"Bearer {KEY}"}))[0] == 401
        assert (await of_strangers(rig, headers=OTHER))[0] == 200
        await socket.send_json(asked)
        assert (await socket.receive_json())["error"]["code"] == "invalid_api_key"


async def test_a_new_mcp_server_can_be_used_and_a_call_of_one_that_is_gone_goes_on(tmp_path: Path) -> None:
    async with asyncio.timeout(BOUND), gateway_with_tools(tmp_path) as (rig, tools):
        play(rig.upstream, calling(("gated", {})))
        async with rig.http.post(PATHS["agent"], json=run()) as given:
            await tools.until(lambda: tools.running == 1)
            await rig.gateway.apply(config(rig.upstream, mcp_servers=[{"name": "more", "url": tools.url}]))
            play(rig.upstream, calling(("add", {"a": 1, "b": 2})), DONE)
            async with rig.http.post(PATHS["agent"], json=run(mcp_servers=[{"integration_fqn": "more"}])) as other:
                assert results(data_of(await other.read())) == {"call_0": "3"}
            assert (await rig.post(PATHS["agent"], run()))[0] == 404
            play(rig.upstream, DONE)
            tools.open_gate()
            raw = await given.read()

        assert CHECKS["agent"](raw) == []
        assert results(data_of(raw)) == {"call_0": "through the gate"}


async def test_what_cannot_be_opened_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(BOUND), gateway() as rig:
        monkeypatch.setitem(openers(), "openai-responses", _fails)
        more = [provider(rig, "new"), provider(rig, "broken", type="openai-responses")]
        changed = config(rig.upstream, providers=more, auth={"keys": [{"name": "other", "key": OTHER_KEY}]})
        with pytest.raises(RuntimeError):
            await rig.gateway.apply(changed)

        rig.upstream.play(DONE.script("lab", streamed=False))
        assert (await rig.post(PATHS["chat"], body("chat", "lab/m", streamed=False)))[0] == 200
        assert (await rig.post(PATHS["chat"], body("chat", "new/m", streamed=False)))[0] == 404


async def test_the_bridge_goes_on_by_other_settings() -> None:
    async with asyncio.timeout(BOUND), gateway() as rig:
        page = {"Origin": "https://app.example"}
        allowed = {"cors": {"origins": ["https://app.example"]}, "websocket": {"max_connections": 0}}
        await rig.gateway.apply(config(rig.upstream, bridge=allowed))
        async with rig.http.get("/v1/models", headers=page) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            await rig.http.ws_connect("/v1/responses")

        await rig.gateway.apply(config(rig.upstream))
        async with rig.http.get("/v1/models", headers=page) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("allowed", [True, False])
async def test_private_addresses_are_allowed_and_refused_as_configured_now(tmp_path: Path, allowed: bool) -> None:
    async with asyncio.timeout(BOUND), gateway_with_tools(tmp_path) as (rig, tools):
        asked = run(mcp_servers=[{"url": tools.url}], stream=False)
        await rig.gateway.apply(config(rig.upstream, security={"allow_private_networks": not allowed}))
        play(rig.upstream, DONE)
        assert (await rig.post(PATHS["agent"], asked))[0] == (400 if allowed else 200)
        await rig.gateway.apply(config(rig.upstream, security={"allow_private_networks": allowed}))
        play(rig.upstream, DONE)
        assert (await rig.post(PATHS["agent"], asked))[0] == (200 if allowed else 400)


async def test_a_hundred_changes_under_a_hundred_streams_lose_nothing_and_leave_nothing_behind(tmp_path: Path) -> None:
    gate = asyncio.Event()
    faces = [*PATHS, "chat"] * 25
    async with asyncio.timeout(BOUND), gateway_with_tools(tmp_path) as (rig, tools), AsyncExitStack() as stack:
        await rig.gateway.apply(_changed(rig, tools, 0))
        before = len(asyncio.all_tasks())
        streams = []
        for number, face in enumerate(faces, 1):
            asked = body(face, "lab/m", streamed=True) | (
                {"mcp_servers": [{"integration_fqn": "tools"}]} if face == "agent" else {}
            )
            streams.append(await begun(stack, rig, PATHS[face], asked, gate))
            await rig.gateway.apply(_changed(rig, tools, number))
        assert {request.headers["x-number"] for request in rig.upstream.requests} == set(map(str, range(100)))
        assert rig.upstream.open == 100
        gate.set()
        ended = [await given.content.read() for given in streams]
        await stack.aclose()

        assert [fault for face, raw in zip(faces, ended, strict=True) for fault in CHECKS[face](raw)] == []
        assert all(b"done." in raw for raw in ended)
        assert rig.upstream.abandoned == 0
        await rig.upstream.until(lambda: rig.upstream.open == 0)
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0)


def _changed(rig: Rig, tools: ToolServer, number: int) -> Config:
    """A configuration in which provider and MCP server have other headers each time."""
    headers = {"X-Number": str(number)}
    servers = [{"name": "tools", "url": tools.url, "headers": headers}]
    return config(rig.upstream, providers=[provider(rig, headers=headers)], mcp_servers=servers)


def openers() -> Any:
    """How providers are opened, by their type."""
    from trivet.model_service import providers

    return providers._OPENERS


def _fails(*_: object) -> Any:
    raise RuntimeError("a library is missing")
