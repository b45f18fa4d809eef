"""Tools with the official SDK: parallel calls there and back over both dialects, and a run of the agent as a chat stream."""

from typing import Any

import pytest

from tests.e2e.answers import ANSWERS, from_completion, from_response
from tests.e2e.runs import DONE, calling, play, run
from tests.e2e.sdk import Recorder, sdk
from tests.e2e.shapes import Shape

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLS = ANSWERS["parallel calls"]
QUESTION: list[Any] = [{"role": "user", "content": "go"}]
PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": True}
of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])


def told(body: Any) -> list[tuple[str, str]]:
    """The calls and the results that an upstream is told of, in its own dialect: id, and arguments or result."""
    found: list[tuple[str, str]] = []
    for entry in body.get("messages") or body["input"]:
        found += [(call["id"], call["function"]["arguments"]) for call in entry.get("tool_calls") or ()]
        if entry.get("type") == "function_call":
            found.append((entry["call_id"], entry["arguments"]))
        if entry.get("role") == "tool":
            found.append((entry["tool_call_id"], entry["content"]))
        if entry.get("type") == "function_call_output":
            found.append((entry["call_id"], entry["output"]))
    return found


EXPECTED = [(call.id, call.arguments) for call in CALLS.calls] + [(call.id, f"of {call.name}") for call in CALLS.calls]


@of_each_dialect
async def test_parallel_calls_go_there_and_back_in_responses(one: Shape, dialect: str) -> None:
    one.upstream.play(CALLS.script(dialect, streamed=True))
    one.upstream.play(DONE.script(dialect, streamed=False))
    tools: Any = [{"type": "function", "name": call.name, "parameters": PARAMETERS, "strict": False} for call in CALLS.calls]

    async with sdk(f"{one.url}/v1") as client:
        async with client.responses.stream(model=f"{dialect}/m", input=QUESTION, tools=tools) as events:
            called = await events.get_final_response()
        items: Any = [item.to_dict() for item in called.output]
        results: Any = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": f"of {item['name']}"} for item in items
        ]
        answered = await client.responses.create(model=f"{dialect}/m", input=[*QUESTION, *items, *results], tools=tools)

    assert from_response(answered) == DONE.whole()
    assert told(one.upstream.requests[-1].body) == EXPECTED


@of_each_dialect
async def test_parallel_calls_go_there_and_back_in_a_chat(one: Shape, dialect: str) -> None:
    one.upstream.play(CALLS.script(dialect, streamed=True))
    one.upstream.play(DONE.script(dialect, streamed=False))
    tools: Any = [{"type": "function", "function": {"name": call.name, "parameters": PARAMETERS}} for call in CALLS.calls]

    async with sdk(f"{one.url}/v1") as client:
        async with client.chat.completions.stream(model=f"{dialect}/m", messages=QUESTION, tools=tools) as events:
            called = (await events.get_final_completion()).choices[0].message
        results: Any = [
            {"role": "tool", "tool_call_id": call.id, "content": f"of {call.function.name}"} for call in called.tool_calls or ()
        ]
        asked: Any = [*QUESTION, called.model_dump(exclude_none=True, exclude={"parsed"}), *results]
        answered = await client.chat.completions.create(model=f"{dialect}/m", messages=asked, tools=tools)

    assert from_completion(answered) == DONE.whole()
    assert told(one.upstream.requests[-1].body) == EXPECTED


async def test_a_run_is_a_chat_stream_to_the_sdk(one: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    # A run is checked by its own rules elsewhere: to those of a chat, a second turn is a fault.
    monkeypatch.setattr(Recorder, "faults", lambda _: [])
    play(one.upstream, calling(("add", {"a": 2, "b": 3})), DONE)

    async with sdk(f"{one.url}/api/llm") as client:
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                model="lab/m", messages=QUESTION, stream=True, extra_body={"mcp_servers": run()["mcp_servers"]}
            )
        ]

    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert [delta.content for delta in deltas if delta.role == "tool"] == ["5"]
    assert "".join(delta.content or "" for delta in deltas if delta.role != "tool") == "All done."
    assert chunks[-1].to_dict()["run"] == {"iterations": 2, "stopped_by": "model"}
