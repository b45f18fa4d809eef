"""Whatever is asked and whatever an upstream says, responses and their events have the shapes of the Open Responses specification."""

from typing import Any

import pytest

from tests.checkers.open_responses import check_events, check_response
from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.answers import ANSWERS, Answer, begun
from tests.e2e.frames import Json, data_of
from tests.e2e.shapes import Shape
from tests.model.chat_chunks import HEAD, USAGE, chunk
from tests.model.responses_events import USAGE as RESPONSES_USAGE
from tests.model.responses_events import event, numbered, response, snapshot
from tests.model.responses_events import sse as named_sse
from tests.upstreams.scripted import CLOSE, Step, answer, sse, stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])
streamed_or_whole = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])

PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": True}
ADD = {"type": "function", "name": "add", "parameters": PARAMETERS}
WEATHER = {"type": "function", "name": "weather", "description": "What it is like.", "parameters": None, "strict": False}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
CALLED = {"type": "function_call", "call_id": "call_a", "name": "add", "arguments": '{"a":1}'}
TOLD = {"type": "function_call_output", "call_id": "call_a", "output": "3"}
ASKED: dict[str, Json] = {
    "a text": {"input": "go"},
    "functions": {"input": "go", "tools": [ADD, WEATHER]},
    "a function by name": {"input": "go", "tools": [ADD], "tool_choice": {"type": "function", "name": "add"}},
    "some functions": {
        "input": "go",
        "tools": [ADD, WEATHER],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "add"}]},
    },
    "no functions": {"input": "go", "tools": [ADD], "tool_choice": "none", "parallel_tool_calls": False},
    "the output of a function": {"input": [{"role": "user", "content": "go"}, CALLED, TOLD], "tools": [ADD]},
    "a schema": {
        "input": "go",
        "text": {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA}, "verbosity": "low"},
    },
    "an object": {"input": "Some JSON", "text": {"format": {"type": "json_object"}}},
    "everything": {
        "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "go"}]}],
        "instructions": "Be kind.",
        "metadata": {"a": "b"},
        "max_output_tokens": 99,
        "temperature": 0,
        "top_p": 0.5,
        "reasoning": {"effort": "low"},
        "service_tier": "auto",
        "safety_identifier": "somebody",
        "prompt_cache_key": "here",
        "truncation": "disabled",
        "store": False,
        "background": False,
    },
}


async def given(shape: Shape, body: Json, *, streamed: bool) -> list[str]:
    """What is wrong with what is answered."""
    if streamed:
        raw = await shape.raw("/v1/responses", body | {"stream": True})
        return check_events(raw) + check_responses_sse(raw)
    status, told = await shape.post("/v1/responses", body)
    assert status == 200, told
    return check_response(told)


@of_each_dialect
@streamed_or_whole
@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS)
async def test_whatever_a_model_says(one: Shape, dialect: str, said: Answer, streamed: bool) -> None:
    one.upstream.play(said.script(dialect, streamed=streamed))
    more: Json = {"include": ["message.output_text.logprobs"]} if said.logprobs else {}

    assert await given(one, {"model": f"{dialect}/m", "input": "go", "tools": [ADD, WEATHER], **more}, streamed=streamed) == []


@of_each_dialect
@streamed_or_whole
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_whatever_is_asked(one: Shape, dialect: str, asked: Json, streamed: bool) -> None:
    one.upstream.play(ANSWERS["text"].script(dialect, streamed=streamed))

    assert await given(one, {"model": f"{dialect}/m", **asked}, streamed=streamed) == []


def cut(dialect: str, reason: str, *, streamed: bool) -> list[Step]:
    """An answer that ends before it should; `reason` is that of a response."""
    if dialect == "lab":
        finish = {"max_output_tokens": "length"}.get(reason, reason)
        chunks = [chunk({"role": "assistant", "content": "Hel"}), chunk({}, finish), chunk(usage=USAGE)]
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hel"}, "finish_reason": finish}
        whole = HEAD | {"object": "chat.completion", "choices": [choice], "usage": USAGE}
        return stream(sse(*chunks)) if streamed else [answer(whole)]
    part = {"type": "output_text", "text": "Hel", "annotations": [], "logprobs": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "incomplete", "content": [part]}
    ended = response("incomplete", output=[message], usage=RESPONSES_USAGE, incomplete_details={"reason": reason})
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = [
        snapshot("created"),
        snapshot("in_progress"),
        event("output_item.added", output_index=0, item=message | {"status": "in_progress", "content": []}),
        event("content_part.added", **place, part=part | {"text": ""}),
        event("output_text.delta", **place, delta="Hel", logprobs=[]),
        event("output_text.done", **place, text="Hel", logprobs=[]),
        event("content_part.done", **place, part=part),
        event("output_item.done", output_index=0, item=message),
        snapshot("incomplete", ended),
    ]
    return stream(named_sse(numbered(events))) if streamed else [answer(ended)]


@of_each_dialect
@streamed_or_whole
@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
async def test_an_answer_that_is_cut(one: Shape, dialect: str, reason: str, streamed: bool) -> None:
    one.upstream.play(cut(dialect, reason, streamed=streamed))

    assert await given(one, {"model": f"{dialect}/m", "input": "go"}, streamed=streamed) == []


@of_each_dialect
async def test_an_answer_that_breaks_off(one: Shape, dialect: str) -> None:
    one.upstream.play(*begun(dialect, CLOSE))

    raw = await one.raw("/v1/responses", {"model": f"{dialect}/m", "input": "go", "stream": True})

    assert check_events(raw) == []
    assert [told["type"] for told in data_of(raw)[-2:]] == ["error", "response.failed"]


@of_each_dialect
@streamed_or_whole
async def test_a_response_to_the_output_of_a_function_that_was_called_before(one: Shape, dialect: str, streamed: bool) -> None:
    one.upstream.play(ANSWERS["text and a call"].script(dialect, streamed=False))
    asked: dict[str, Any] = {"model": f"{dialect}/m", "tools": [ADD]}
    _, called = await one.post("/v1/responses", {**asked, "input": "go"})
    one.upstream.play(ANSWERS["text"].script(dialect, streamed=streamed))

    assert check_response(called) == []
    assert await given(one, {**asked, "input": [*called["output"], TOLD]}, streamed=streamed) == []


def sparing(value: Any) -> Any:
    """Without what an upstream of the same API may think it need not say."""
    left_out = {"status", "annotations", "logprobs", "input_tokens_details", "output_tokens_details", "tool_choice", "tools"}
    if isinstance(value, dict):
        return {key: sparing(inner) for key, inner in value.items() if key not in left_out}
    return [sparing(inner) for inner in value] if isinstance(value, list) else value


@streamed_or_whole
@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS)
async def test_an_upstream_that_leaves_things_out(one: Shape, said: Answer, streamed: bool) -> None:
    told = [named_sse([sparing(event)]) for event in said.events()]
    one.upstream.play(stream(*told) if streamed else [answer(sparing(said.response()))])

    assert await given(one, {"model": "oai/m", "input": "go", "tools": [ADD]}, streamed=streamed) == []
