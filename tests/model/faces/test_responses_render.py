"""A turn's events as a response: every stream is checked against the invariants, then for what it says."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkers.responses_stream import check_responses_stream
from tests.model.ended import ended
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.runs import runs_of
from trivet.kernel.errors import RateLimited, UpstreamFailed, UpstreamRejected
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    HostedItem,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    TextRun,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)
from trivet.model_service.faces.responses import Ending, collect, stream
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.faces.responses_render import ResponseRenderer
from trivet.model_service.faces.responses_tools import namespaced
from trivet.model_service.faces.responses_whole import WholeResponse

Json = dict[str, Any]


def renderer(**request: Any) -> ResponseRenderer:
    asked = {"model": "lab/fast", "input": "hi"} | request
    request = codec_for(CreateResponseRequest).decode(asked, strict=True)
    return ResponseRenderer(begin(request, "lab"), namespaced(request.tools))


def whole() -> WholeResponse:
    return WholeResponse(begin(CreateResponseRequest(model="lab/fast"), "lab"), {})


def as_json(events: list[ResponseEvent]) -> list[Json]:
    singles = [single for event in events for single in runs_of(ResponseEvent.DESCRIPTOR).singles(event)]
    return [orjson.loads(codec_for(ResponseEvent).dumps(event)) for event in singles]


def rendered(*events: TurnEvent, reason: Any = "stop", **request: Any) -> list[Json]:
    """The stream of a whole turn, checked."""
    found = as_json(renderer(**request).render([TurnStarted(), *events, TurnFinished(reason, Usage(3, 4, 7, 1, 2, 3))]))
    assert check_responses_stream(found) == []
    return found


def types(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def output(events: list[Json]) -> list[Json]:
    found: list[Json] = events[-1]["response"]["output"]
    return found


def test_a_text_is_nested_in_its_part_its_message_and_the_response() -> None:
    events = rendered(TextDelta("Hel"), TextDelta("lo"))

    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[2]["item"] | {"id": "msg_"} == {
        "type": "message", "id": "msg_", "role": "assistant", "status": "in_progress", "content": [],
    }  # fmt: skip
    assert events[4] == {
        "type": "response.output_text.delta", "sequence_number": 4, "item_id": events[2]["item"]["id"],
        "output_index": 0, "content_index": 0, "delta": "Hel", "logprobs": [],
    }  # fmt: skip
    assert output(events)[0]["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    assert output(events)[0]["status"] == "completed"


def test_ids_have_the_prefix_of_their_kind() -> None:
    events = rendered(
        ReasoningDelta("hm"), TextDelta("a"), ToolCallStarted(0, "call_1", "f"), ToolCallStarted(1, "call_2", "g", "custom"),
    )  # fmt: skip

    assert [item["id"].partition("_")[0] for item in output(events)] == ["rs", "msg", "fc", "ctc"]
    assert events[0]["response"]["id"].startswith("resp_")


def test_usage_tells_cached_and_reasoning_tokens() -> None:
    assert rendered()[-1]["response"]["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 2},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 7,
    }


def test_usage_is_null_when_the_upstream_did_not_tell() -> None:
    made = renderer()
    made.render([TurnStarted(), TurnFinished("stop")])

    assert orjson.loads(codec_for(Response).dumps(made.response))["usage"] is None


def test_logprobs_come_with_deltas_and_add_up() -> None:
    token = TokenLogprob("Hi", -0.5, (72, 105), (TokenLogprob("Hi", -0.5, (72, 105)), TokenLogprob("Yo", -1.5)))

    events = rendered(TextDelta("Hi", (token,)), TextDelta("!", (TokenLogprob("!", -0.1),)))

    assert [logprob["token"] for logprob in output(events)[0]["content"][0]["logprobs"]] == ["Hi", "!"]
    assert events[4]["logprobs"] == [
        {
            "token": "Hi",
            "bytes": [72, 105],
            "logprob": -0.5,
            "top_logprobs": [
                {"token": "Hi", "bytes": [72, 105], "logprob": -0.5},
                {"token": "Yo", "bytes": [], "logprob": -1.5},
            ],
        }
    ]


def test_annotations_are_numbered_and_stand_in_their_text() -> None:
    citation = '{"type":"url_citation","url":"https://a.example","title":"A","start_index":0,"end_index":1}'

    events = rendered(TextDelta("a"), AnnotationAdded(citation), AnnotationAdded('{"type":"novel","x":1}'), TextDelta("b"))

    assert [event["annotation_index"] for event in events if "annotation_index" in event] == [0, 1]
    assert output(events)[0]["content"][0]["annotations"] == [orjson.loads(citation), {"type": "novel", "x": 1}]


def test_a_refusal_after_text_is_a_part_of_its_own() -> None:
    events = rendered(TextDelta("Well"), RefusalDelta("I can"), RefusalDelta("not"))

    assert [part["type"] for part in output(events)[0]["content"]] == ["output_text", "refusal"]
    assert output(events)[0]["content"][1] == {"type": "refusal", "refusal": "I cannot"}


def test_reasoning_has_content_parts_for_its_text() -> None:
    events = rendered(ReasoningDelta("hm"), ReasoningDelta("m"), ReasoningEnded("enc"), TextDelta("a"))

    assert types(events)[2:9] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ]
    assert output(events)[0]["content"] == [{"type": "reasoning_text", "text": "hmm"}]
    assert (output(events)[0]["encrypted_content"], output(events)[0]["summary"]) == ("enc", [])


def test_reasoning_summaries_are_parts_by_index() -> None:
    events = rendered(ReasoningDelta("a", 0), ReasoningDelta("b", 0), ReasoningDelta("c", 1), ReasoningEnded())

    assert output(events)[0]["summary"] == [{"type": "summary_text", "text": "ab"}, {"type": "summary_text", "text": "c"}]
    assert types(events).count("reasoning_summary_part.added") == 2
    assert "content" not in output(events)[0]


def test_encrypted_reasoning_alone_is_an_item() -> None:
    events = rendered(ReasoningEnded("enc"), TextDelta("a"))

    assert [item["type"] for item in output(events)] == ["reasoning", "message"]


def test_reasoning_that_ends_with_nothing_to_say_is_no_item() -> None:
    assert output(rendered(ReasoningEnded(), TextDelta(""), RefusalDelta(""))) == []


def test_a_function_call_streams_its_arguments() -> None:
    events = rendered(ToolCallStarted(0, "call_1", "f"), ToolCallDelta(0, '{"a":'), ToolCallDelta(0, "1}"), reason="tool_calls")

    assert types(events)[2:7] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert events[5]["name"] == "f"
    assert output(events)[0] | {"id": ""} == {
        "type": "function_call", "id": "", "call_id": "call_1", "name": "f", "arguments": '{"a":1}', "status": "completed",
    }  # fmt: skip


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert output(rendered(ToolCallStarted(0, "call_1", "f")))[0]["arguments"] == "{}"


def test_a_custom_call_streams_its_input() -> None:
    events = rendered(ToolCallStarted(0, "call_1", "f", "custom"), ToolCallDelta(0, "go "), ToolCallDelta(0, "on"))

    assert (output(events)[0]["type"], output(events)[0]["input"]) == ("custom_tool_call", "go on")


def test_calls_whose_deltas_are_mixed_come_one_after_the_other() -> None:
    events = rendered(
        ToolCallStarted(0, "call_1", "f"),
        ToolCallStarted(1, "call_2", "g"),
        ToolCallDelta(1, '{"b"'),
        ToolCallDelta(0, '{"a":1'),
        ToolCallDelta(1, ":2}"),
        ToolCallDelta(0, "}"),
    )

    assert [(call["name"], call["arguments"]) for call in output(events)] == [("f", '{"a":1}'), ("g", '{"b":2}')]


def test_a_call_is_done_as_soon_as_the_next_begins_when_its_arguments_are_whole() -> None:
    made = renderer()
    made.render([TurnStarted(), ToolCallStarted(0, "call_1", "f"), ToolCallDelta(0, '{"a":{}}')])

    assert types(as_json(made.render([ToolCallStarted(1, "call_2", "g")])))[-2:] == ["output_item.done", "output_item.added"]


def test_text_among_calls_waits_for_them() -> None:
    events = rendered(ToolCallStarted(0, "c", "f"), ToolCallDelta(0, '{"a"'), TextDelta("so"), ToolCallDelta(0, ":1}"))

    assert [item["type"] for item in output(events)] == ["function_call", "message"]


def test_a_piece_of_a_call_that_is_closed_is_dropped() -> None:
    events = rendered(ToolCallStarted(0, "c", "f"), ToolCallDelta(0, "{}"), TextDelta("so"), ToolCallDelta(0, "\n"))

    assert output(events)[0]["arguments"] == "{}"


def test_a_call_in_a_namespace_gets_its_own_name_back() -> None:
    space = {"type": "namespace", "name": "ns", "description": "d", "tools": [{"type": "function", "name": "f"}]}

    call = output(rendered(ToolCallStarted(0, "c", "ns__f"), ToolCallDelta(0, "{}"), tools=[space]))[0]

    assert (call["namespace"], call["name"]) == ("ns", "f")


def test_a_hosted_item_passes_whole() -> None:
    raw = '{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"q"}}'

    events = rendered(HostedItem(raw), TextDelta("a"))

    assert output(events)[0] == orjson.loads(raw)


@pytest.mark.parametrize(("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_a_turn_cut_short_makes_its_last_item_and_the_response_incomplete(reason: str, told: str) -> None:
    events = rendered(TextDelta("a"), ToolCallStarted(0, "c", "f"), ToolCallDelta(0, '{"a'), reason=reason)

    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": told}
    assert [item["status"] for item in output(events)] == ["completed", "incomplete"]
    assert events[-1]["response"]["completed_at"] is None


@pytest.mark.parametrize(
    ("error", "code", "response_code"),
    [
        (UpstreamFailed("It broke."), "upstream_failed", "server_error"),
        (RateLimited("Slow down."), "rate_limit_exceeded", "rate_limit_exceeded"),
        (UpstreamRejected("Too long.", 400, code="context_length_exceeded"), "context_length_exceeded", "invalid_prompt"),
    ],
)
def test_a_turn_that_fails_closes_what_is_open_and_says_so_twice(error: Any, code: str, response_code: str) -> None:
    made = renderer()
    begun = made.render([TurnStarted(), TextDelta("Hel"), ToolCallStarted(0, "c", "f")])

    events = as_json([*begun, *made.fail(error)])

    assert check_responses_stream(events) == []
    assert types(events)[-2:] == ["error", "failed"]
    assert events[-2]["code"] == events[-2]["error"]["code"] == code
    assert events[-1]["response"]["error"] == {"code": response_code, "message": error.message}
    assert [item["status"] for item in output(events)] == ["completed", "incomplete"]


async def test_an_error_before_the_first_event_is_raised() -> None:
    async def turn() -> Any:
        raise UpstreamFailed("It broke.")
        yield []

    ending = Ending()
    with pytest.raises(UpstreamFailed):
        [batch async for batch in ended(stream(renderer(), turn(), ending), ending)]
    with pytest.raises(UpstreamFailed):
        await collect(whole(), turn())


async def test_a_stream_keeps_the_batches_of_the_turn_and_ends_with_its_error() -> None:
    async def turn() -> Any:
        yield [TurnStarted()]
        yield [TextDelta("")]
        yield [TextDelta("a"), TextDelta("b")]
        raise UpstreamFailed("It broke.")

    ending = Ending()
    batches = [as_json(list(batch.events)) async for batch in ended(stream(renderer(), turn(), ending), ending)]

    assert [len(batch) for batch in batches] == [2, 4, 5]
    assert check_responses_stream([event for batch in batches for event in batch]) == []


async def test_what_is_collected_is_what_would_have_been_streamed() -> None:
    async def turn() -> Any:
        yield [TurnStarted(), TextDelta("a"), TurnFinished("stop", None, "flex")]

    response = await collect(whole(), turn())

    assert (response.status, response.output[0].message.content.parts.parts[0].output_text.text) == ("completed", "a")
    assert (response.service_tier, response.completed_at >= response.created_at) == ("flex", True)


def test_the_response_repeats_the_request() -> None:
    tool = {"type": "function", "name": "f"}
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}

    response = rendered(
        instructions="Be brief.", temperature=0, max_output_tokens=9, metadata={"k": "v"}, user="u", tools=[tool],
        tool_choice={"type": "function", "name": "f"}, reasoning={"effort": "low"}, text={"format": form, "verbosity": "low"},
        safety_identifier="s", prompt_cache_key="p", parallel_tool_calls=False, store=True, max_tool_calls=2,
    )[0]["response"]  # fmt: skip

    told = {
        "model": "lab/fast", "provider": "lab", "instructions": "Be brief.", "temperature": 0, "max_output_tokens": 9,
        "metadata": {"k": "v"}, "user": "u", "tools": [tool | {"description": None, "parameters": None, "strict": None}],
        "tool_choice": {"type": "function", "name": "f"}, "reasoning": {"effort": "low", "summary": None},
        "text": {"format": form | {"description": None, "strict": False}, "verbosity": "low"}, "safety_identifier": "s",
        "prompt_cache_key": "p", "parallel_tool_calls": False, "store": True, "max_tool_calls": 2,
    }  # fmt: skip
    assert {key: response[key] for key in told} == told


def test_what_the_request_leaves_open_has_the_contract_s_defaults() -> None:
    response = rendered()[-1]["response"]

    told = {
        "temperature": 1.0, "top_p": 1.0, "top_logprobs": 0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "service_tier": "default", "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "metadata": {},
        "reasoning": {"effort": None, "summary": None}, "truncation": "disabled", "parallel_tool_calls": True,
        "background": False, "object": "response", "error": None, "instructions": None, "previous_response_id": None,
    }  # fmt: skip
    assert {key: response[key] for key in told} == told
    assert response["user"] is None


INDEX = st.integers(0, 3)
EVENT = st.one_of(
    st.builds(TextDelta, st.text(max_size=3)),
    st.builds(TextRun, st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=3)),
    st.builds(RefusalDelta, st.text(max_size=3)),
    st.builds(ReasoningDelta, st.text(max_size=3), st.sampled_from([None, 0, 1])),
    st.builds(ReasoningEnded, st.sampled_from(["", "enc"])),
    st.builds(AnnotationAdded, st.just('{"type":"file_path","file_id":"f","index":1}')),
    st.builds(ToolCallStarted, INDEX, st.just("call_1"), st.just("f"), st.sampled_from(["function", "custom"])),
    st.builds(ToolCallDelta, INDEX, st.sampled_from(["", "{", "}", '"a":1', "\n"])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENT, max_size=25), st.sampled_from(["stop", "length", "tool_calls", "content_filter", "fail"]))
def test_whatever_a_turn_does_its_stream_keeps_the_invariants(events: list[TurnEvent], end: Any) -> None:
    made = renderer()
    found = made.render([TurnStarted(), *events])
    found += made.fail(UpstreamFailed("It broke.")) if end == "fail" else made.render([TurnFinished(end)])

    assert check_responses_stream(as_json(found)) == []


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENT, max_size=25), st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
def test_whatever_a_turn_does_it_is_the_same_whole_as_streamed(events: list[TurnEvent], end: Any) -> None:
    turn = [TurnStarted(), *events, TurnFinished(end, Usage(3, 4, 7), "flex")]
    streamed, gathered = renderer(), whole()

    streamed.render(turn)
    gathered.add(turn)

    assert without_ids(gathered.response) == without_ids(streamed.response)


def without_ids(response: Response) -> Json:
    found: Json = codec_for(Response).encode(response) | {"id": "", "created_at": 0, "completed_at": 0}
    return found | {"output": [item | {"id": item["id"].partition("_")[0]} for item in found["output"]]}
