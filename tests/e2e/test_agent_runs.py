"""Agent runs over a scripted upstream and a real MCP server, in one process and in four."""

import asyncio
import json
from typing import Any

import pytest

from tests.checkers.chat_stream import check_chat_sse
from tests.e2e.frames import Json, data_of, read_until
from tests.e2e.rig import gateway
from tests.e2e.runs import DONE, calling, play, results, run, text
from tests.e2e.shapes import Shape
from tests.model.chat_chunks import USAGE, chunk
from tests.tool.rig import Child, child
from tests.tool.servers.minimal import minimal_server
from tests.upstreams.scripted import sse, stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/api/llm/agent/responses"
BOUND = 60


@pytest.mark.parametrize("dialect", ["lab", "oai"])
async def test_a_run_of_two_iterations_calls_the_tool_and_answers(shape: Shape, dialect: str) -> None:
    play(shape.upstream, calling(("add", {"a": 2, "b": 3})), DONE, dialect=dialect)

    raw = await shape.raw(PATH, run(model=f"{dialect}/m", stream_options={"include_usage": True}))

    chunks = data_of(raw)
    assert check_chat_sse(raw, agent=True) == []
    assert (results(chunks), text(chunks)) == ({"call_0": "5"}, "All done.")
    assert chunks[-1]["run"] == {"iterations": 2, "stopped_by": "model"}
    assert chunks[-1]["usage"]["total_tokens"] == 2 * (USAGE["total_tokens"] if dialect == "lab" else 15)
    begun = next(call for one in chunks for choice in one["choices"] for call in choice["delta"].get("tool_calls") or ())
    assert begun["tool_info"] == {"mcp_server": "tools", "tool": "add"}


async def test_the_first_chunk_arrives_before_the_upstream_has_finished(shape: Shape) -> None:
    gate = asyncio.Event()
    begun, rest = (
        sse(chunk({"role": "assistant", "content": "first"}), done=False),
        sse(chunk({"content": " last"}), chunk({}, "stop")),
    )
    shape.upstream.play(stream(begun, gate, rest))

    async with asyncio.timeout(BOUND), shape.http.post(PATH, json=run()) as answer:
        seen = await read_until(answer, b"first")
        assert b"last" not in seen
        gate.set()
        seen += await answer.content.read()

    assert check_chat_sse(seen, agent=True) == []
    assert text(data_of(seen)) == "first last"


async def test_the_calls_of_a_turn_run_in_parallel(shape: Shape) -> None:
    play(shape.upstream, calling(("meet", {"name": "one"}), ("meet", {"name": "two"})), DONE)

    async with asyncio.timeout(BOUND):
        raw = await shape.raw(PATH, run())

    assert check_chat_sse(raw, agent=True) == []
    assert results(data_of(raw)) == {"call_0": "one met the other", "call_1": "two met the other"}
    told = shape.upstream.requests[-1].body["messages"][-3:]
    assert [call["id"] for call in told[0]["tool_calls"]] == ["call_0", "call_1"]
    assert [(message["tool_call_id"], message["content"]) for message in told[1:]] == [
        ("call_0", "one met the other"),
        ("call_1", "two met the other"),
    ]


async def test_each_result_arrives_when_its_tool_is_finished(shape: Shape) -> None:
    play(shape.upstream, calling(("gated", {}), ("add", {"a": 1, "b": 1})), DONE)

    async with asyncio.timeout(BOUND), shape.http.post(PATH, json=run()) as answer:
        seen = await read_until(answer, b'"tool_call_id":"call_1"')
        assert b'"tool_call_id":"call_0"' not in seen
        shape.tools.open_gate()
        seen += await answer.content.read()

    assert check_chat_sse(seen, agent=True) == []
    assert results(data_of(seen)) == {"call_1": "2", "call_0": "through the gate"}


async def test_the_limit_ends_a_run_after_its_last_results(shape: Shape) -> None:
    play(shape.upstream, calling(("add", {"a": 1, "b": 2})), calling(("add", {"a": 3, "b": 4})))

    raw = await shape.raw(PATH, run(iteration_limit=2))

    chunks = data_of(raw)
    assert check_chat_sse(raw, agent=True) == []
    assert [*results(chunks).values()] == ["7"]  # both calls have one id, the last one counts
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["run"] == {"iterations": 2, "stopped_by": "iteration_limit"}
    assert len(shape.upstream.requests) == 2


async def test_a_run_without_stream_is_one_completion(shape: Shape) -> None:
    play(shape.upstream, calling(("add", {"a": 2, "b": 3})), DONE)

    status, given = await shape.post(PATH, run(stream=False))

    assert (status, given["object"], given["choices"][0]["finish_reason"]) == (200, "chat.completion", "stop")
    assert given["choices"][0]["message"]["content"] == "All done."
    assert [message["role"] for message in given["messages"]] == ["assistant", "tool"]
    assert given["messages"][1]["content"] == "5"
    assert given["usage"]["total_tokens"] == 2 * USAGE["total_tokens"]
    assert given["run"] == {"iterations": 2, "stopped_by": "model"}


async def test_a_server_by_url_gives_its_tools(shape: Shape) -> None:
    play(shape.upstream, calling(("say", {"text": "by URL"})), DONE)

    raw = await shape.raw(PATH, run(mcp_servers=[{"url": shape.tools.url, "tools": [{"name": "say"}]}]))

    assert check_chat_sse(raw, agent=True) == []
    assert results(data_of(raw)) == {"call_0": "by URL"}
    assert [tool["function"]["name"] for tool in shape.upstream.requests[0].body["tools"]] == ["say"]


async def test_a_tool_that_fails_is_content_that_the_model_reads(shape: Shape) -> None:
    play(shape.upstream, calling(("fail", {"why": "out of luck"}), ("nothing", {}), ("add", {"a": 1})), DONE)

    raw = await shape.raw(PATH, run())

    found = {call: json.loads(content)["error"] for call, content in results(data_of(raw)).items()}
    assert check_chat_sse(raw, agent=True) == []
    assert "out of luck" in found["call_0"]
    assert "`nothing`" in found["call_1"]
    assert "b" in found["call_2"]


async def test_a_hundred_runs_cost_one_handshake_and_one_list(four_processes: Shape) -> None:
    await _hundred_runs(four_processes, {"url": four_processes.tools.url, "headers": {"X-Team": "hundred"}})

    seen = four_processes.tools.seen
    assert (seen["server/discover"], seen["tools/list"], seen["tools/call"]) == (1, 1, 100)


async def test_a_hundred_runs_cost_an_older_server_no_more(one: Shape) -> None:
    async with minimal_server() as older:
        await _hundred_runs(one, {"url": older.url})

    assert (older.seen["initialize"], older.seen["tools/list"], older.seen["tools/call"]) == (1, 1, 100)


async def _hundred_runs(shape: Shape, server: Json) -> None:
    for _ in range(100):
        play(shape.upstream, calling(("add", {"a": 1, "b": 2})), DONE)
        raw = await shape.raw(PATH, run(mcp_servers=[server]))
        assert results(data_of(raw)) == {"call_0": "3"}


async def test_a_server_that_dies_in_the_middle_of_a_call_does_not_end_the_run(shape: Shape) -> None:
    with child("http") as server:
        play(shape.upstream, calling(("slow", {})), DONE)
        async with asyncio.timeout(BOUND), shape.http.post(PATH, json=run(mcp_servers=[{"url": server.url}])) as answer:
            await server.until_seen("slow started")
            server.kill()
            raw = await answer.read()

    chunks = data_of(raw)
    assert check_chat_sse(raw, agent=True) == []
    assert "error" in json.loads(results(chunks)["call_0"])
    assert text(chunks) == "All done."


async def test_a_run_without_its_tools_is_refused_until_the_server_is_up() -> None:
    with child("http") as server:
        server.kill()
        async with gateway(mcp_servers=[{"name": "late", "url": server.url}]) as rig:
            asked = run(mcp_servers=[{"integration_fqn": "late"}])
            for _ in range(2):
                await _is_refused(rig, server, asked)

            server.start()
            play(rig.upstream, calling(("add", {"a": 2, "b": 2})), DONE)
            async with rig.http.post(PATH, json=asked) as answer:
                raw = await answer.read()

    assert check_chat_sse(raw, agent=True) == []
    assert results(data_of(raw)) == {"call_0": "4"}


async def _is_refused(rig: Any, server: Child, asked: Json) -> None:
    status, body = await rig.post(PATH, asked)
    error = body["error"]
    assert (status, error["code"], error["param"]) == (502, "mcp_server_unavailable", "mcp_servers[0]")
    assert "late" in error["message"]
    assert str(server.port) not in error["message"]
    assert rig.upstream.requests == []
