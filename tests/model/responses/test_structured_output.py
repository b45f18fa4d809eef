"""A text that is asked for in a form is in that form, or the response has failed."""

import json
from typing import Any

import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.model.responses.turning import Turning, as_json, asking, events_of, saying, whole
from trivet.kernel.errors import InvalidRequest
from trivet.model_service.domain.turn import (
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.responses.assembly import Assembly, TurnSplice

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


def form(schema: Any = SCHEMA, *, strict: bool | None = True) -> dict[str, Any]:
    return {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": strict}}


OBJECT = {"format": {"type": "json_object"}}


@pytest.mark.parametrize(
    ("text", "said", "fault"),
    [
        (form(), "Sure! {}", "it is not JSON."),
        (form(), '```json\n{"n": 1}\n```', "it is not JSON."),
        (form(), '{"n": "one"}', "at $.n, 'one' is not of type 'integer'."),
        (form(), '{"n": 1, "m": 2}', "at $, Additional properties are not allowed ('m' was unexpected)."),
        (form(), "", "it is not JSON."),
        (form(strict=False), "{", "it is not JSON."),
        (OBJECT, "[1]", "it is not a JSON object."),
        (OBJECT, "so", "it is not JSON."),
    ],
)
async def test_a_text_that_is_not_in_the_form_asked_for_fails_the_response(text: Any, said: str, fault: str) -> None:
    response = await whole(Turning(saying(said)), asking(text=text))
    events = await events_of(Turning(saying(said)), asking(text=text))

    assert (response.status, response.error.code) == ("failed", "server_error")
    assert response.error.message == f"The model's text is not what `text.format` asks for: {fault}"
    assert not response.HasField("completed_at")
    assert response.usage.output_tokens == 5
    assert check_responses_stream(as_json(events)) == []
    assert [event.WhichOneof("event") for event in events[-2:]] == ["error", "failed"]
    streamed = events[-1].failed.response
    assert (streamed.status, streamed.error.message) == ("failed", response.error.message)
    assert len(streamed.output) == len(response.output) == (1 if said else 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (form(), '{"n": 1}'),
        (form(strict=False), '{"n": "one"}'),
        (form(strict=None), '{"n": "one"}'),
        (OBJECT, "{}"),
        ({"format": {"type": "text"}}, "so"),
        (None, "so"),
    ],
)
async def test_a_text_in_the_form_asked_for_completes_it(text: Any, said: str) -> None:
    assert (await whole(Turning(saying(said)), asking(text=text))).status == "completed"
    assert (await events_of(Turning(saying(said)), asking(text=text)))[-1].completed.response.status == "completed"


@pytest.mark.parametrize(
    "events",
    [
        [RefusalDelta("no")],
        [TextDelta("I will look"), ToolCallStarted(0, "call_1", "f")],
        [ToolCallStarted(0, "call_1", "f")],
    ],
    ids=["a refusal", "words before a call", "a call"],
)
async def test_what_is_no_last_word_is_in_no_form(events: list[TurnEvent]) -> None:
    turn = [[TurnStarted(), *events, TurnFinished("stop")]]

    assert (await whole(Turning(turn), asking(text=form()))).status == "completed"


async def test_reasoning_is_in_no_form() -> None:
    turn: list[list[TurnEvent]] = [
        [TurnStarted(), ReasoningDelta("hm"), ReasoningEnded(), TextDelta('{"n": 1}'), TurnFinished("stop")]
    ]

    assert (await whole(Turning(turn), asking(text=form()))).status == "completed"


async def test_a_text_that_is_cut_short_stays_incomplete() -> None:
    assert (await whole(Turning(saying('{"n": ', reason="length")), asking(text=form()))).status == "incomplete"


async def test_a_response_of_several_turns_fails_with_its_last_one() -> None:
    request = asking(text=form())
    assembly = Assembly(begin(request, "lab"))
    splice = TurnSplice(assembly)

    events = [*assembly.begin(), *splice.pass_on(await events_of(Turning(saying("no JSON")), request))]
    assert splice.response is not None
    events += assembly.end(splice.response)

    assert check_responses_stream(as_json(events)) == []
    assert [event.WhichOneof("event") for event in events[-2:]] == ["error", "failed"]
    assert events[-1].failed.response.error.message.endswith("it is not JSON.")


async def test_deltas_are_not_held_back() -> None:
    """Each of the upstream's batches comes as it is; only the last one is looked at."""
    events = await events_of(Turning(saying('{"n"', ": ", "1}")), asking(text=form()))

    assert [event.output_text_delta.delta for event in events if event.HasField("output_text_delta")] == ['{"n"', ": ", "1}"]


@pytest.mark.parametrize(
    ("schema", "said", "status"),
    [
        ({"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}, "[1, 2]", "completed"),
        ({"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}, '[1, "2"]', "failed"),
        ({"type": "string", "pattern": "^a+b$"}, '"aab"', "completed"),
        ({"type": "string", "pattern": "^a+b$"}, '"aac"', "failed"),
        ({"type": "string", "pattern": "(?=.*x)y"}, '"looks ahead: not judged"', "completed"),
        ({"patternProperties": {"^a": {"type": "string"}}}, '{"a": 1}', "completed"),
        ({"$ref": "https://schemas.example/other.json"}, "1", "failed"),
        ({"$ref": "#"}, "1", "completed"),
    ],
)
async def test_schemas_are_followed_as_far_as_they_do_no_harm(schema: Any, said: str, status: str) -> None:
    assert (await whole(Turning(saying(said)), asking(text=form(schema)))).status == status


async def test_a_pattern_that_backtracks_without_end_ends() -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}

    assert (await whole(Turning(saying(json.dumps("a" * 64 + "b"))), asking(text=form(schema)))).status == "failed"


async def test_references_that_multiply_are_not_followed_for_ever() -> None:
    doubled = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(40)}
    schema = {"$defs": {**doubled, "d40": {"type": "integer"}}, "$ref": "#/$defs/d0"}

    assert (await whole(Turning(saying("1")), asking(text=form(schema)))).status == "completed"


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"properties": []}, [], "x", {"title": "x" * 200_000}])
async def test_a_strict_schema_that_is_none_or_too_long_is_refused_before_the_model_is_asked(schema: Any) -> None:
    dialect = Turning(saying("{}"))

    with pytest.raises(InvalidRequest) as refused:
        await whole(dialect, asking(text=form(schema)))
    with pytest.raises(InvalidRequest):
        await events_of(dialect, asking(text=form(schema)))

    assert refused.value.param == "text.format.schema"
    assert dialect.asked == []
