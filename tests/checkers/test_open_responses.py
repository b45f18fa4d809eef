"""The checker of the specification's shapes finds every defect that is planted in good responses, items and events."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import orjson
import pytest

from tests.checkers.open_responses import check_compaction, check_event, check_events, check_items, check_response

Json = dict[str, Any]

TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
LOGPROBS = [TOKEN | {"top_logprobs": [TOKEN]}]
CITATION = {"type": "url_citation", "url": "https://a.example", "start_index": 0, "end_index": 2, "title": "A"}
TEXT = {"type": "output_text", "text": "Hi", "annotations": [CITATION], "logprobs": LOGPROBS}
MESSAGE = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [TEXT]}
ASKED = MESSAGE | {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"}
OUTPUT = {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "5", "status": "completed"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
USAGE = {
    "input_tokens": 1,
    "output_tokens": 2,
    "total_tokens": 3,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
FUNCTION = {"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}, "strict": None}
RESPONSE: Json = {
    "id": "resp_1", "object": "response", "created_at": 1, "completed_at": 2, "status": "completed", "incomplete_details": None,
    "model": "lab/m", "previous_response_id": None, "instructions": None, "output": [REASONING, MESSAGE, CALL], "error": None,
    "tools": [FUNCTION], "tool_choice": "auto", "truncation": "disabled", "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}}, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "top_logprobs": 0,
    "temperature": 1.0, "reasoning": {"effort": None, "summary": None}, "usage": USAGE, "max_output_tokens": None,
    "max_tool_calls": None, "store": True, "background": False, "service_tier": "default", "metadata": {},
    "safety_identifier": None, "prompt_cache_key": None,
}  # fmt: skip
IN_ITEM: Json = {"sequence_number": 4, "item_id": "msg_1", "output_index": 0}
PLACE: Json = IN_ITEM | {"content_index": 0}
SUMMARY: Json = IN_ITEM | {"summary_index": 0}
FAULT = {"type": "server_error", "code": None, "message": "It broke.", "param": None}
EVENTS: list[Json] = [
    {"type": "response.created", "sequence_number": 0, "response": RESPONSE | {"status": "in_progress", "usage": None}},
    {"type": "response.output_item.added", "sequence_number": 2, "output_index": 0, "item": MESSAGE | {"content": []}},
    {"type": "response.content_part.added", **PLACE, "part": TEXT},
    {"type": "response.output_text.delta", **PLACE, "delta": "Hi", "logprobs": LOGPROBS},
    {"type": "response.output_text.annotation.added", **PLACE, "annotation_index": 0, "annotation": CITATION},
    {"type": "response.output_text.done", **PLACE, "text": "Hi", "logprobs": LOGPROBS},
    {"type": "response.refusal.delta", **PLACE, "delta": "No"},
    {"type": "response.refusal.done", **PLACE, "refusal": "No"},
    {"type": "response.reasoning_text.delta", **PLACE, "delta": "Hm"},
    {"type": "response.reasoning_text.done", **PLACE, "text": "Hm"},
    {"type": "response.reasoning_summary_part.added", **SUMMARY, "part": {"type": "summary_text", "text": ""}},
    {"type": "response.reasoning_summary_text.delta", **SUMMARY, "delta": "Hm"},
    {"type": "response.reasoning_summary_text.done", **SUMMARY, "text": "Hm"},
    {"type": "response.function_call_arguments.delta", **IN_ITEM, "delta": "{"},
    {"type": "response.function_call_arguments.done", **IN_ITEM, "arguments": "{}"},
    {"type": "error", "sequence_number": 4, "error": FAULT},
    {"type": "response.completed", "sequence_number": 9, "response": RESPONSE},
]
COMPACTION: Json = {
    "id": "resp_2", "object": "response.compaction", "created_at": 3, "usage": USAGE,
    "output": [ASKED, {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}],
}  # fmt: skip

NULLABLE = {
    "completed_at", "incomplete_details", "previous_response_id", "instructions", "error", "reasoning", "usage",
    "max_output_tokens", "max_tool_calls", "safety_identifier", "prompt_cache_key",
}  # fmt: skip


def put(path: str, value: Any) -> Callable[[Json], None]:
    """Sets what stands at a dotted path."""
    *way, last = path.split(".")

    def plant(target: Any) -> None:
        for step in way:
            target = target[int(step) if step.isdigit() else step]
        target[last] = value

    return plant


def drop(path: str) -> Callable[[Json], None]:
    *way, last = path.split(".")

    def plant(target: Any) -> None:
        for step in way:
            target = target[int(step) if step.isdigit() else step]
        del target[last]

    return plant


def found(check: Callable[[Any], list[str]], good: Any, plant: Callable[[Json], None]) -> list[str]:
    planted = deepcopy(good)
    plant(planted)
    return check(planted)


def test_what_is_good_has_no_faults() -> None:
    assert check_response(RESPONSE) == []
    assert (
        check_items([ASKED, MESSAGE, CALL, OUTPUT, REASONING, OUTPUT | {"output": [{"type": "input_text", "text": "5"}]}]) == []
    )
    assert check_compaction(COMPACTION) == []
    assert [fault for event in EVENTS for fault in check_event(event)] == []
    assert check_events(b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in EVENTS) + b"data: [DONE]\n\n") == []


@pytest.mark.parametrize(
    "plant",
    [
        put("tool_choice", {"type": "function", "name": "f"}),
        put("tool_choice", {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}),
        put("text.format", {"type": "json_schema", "name": "n", "description": None, "schema": {}, "strict": True}),
        put("novel", None),
        drop("output.1.content.0.logprobs"),
    ],
)
def test_what_the_specification_leaves_open_is_no_fault(plant: Callable[[Json], None]) -> None:
    assert found(check_response, RESPONSE, plant) == []


@pytest.mark.parametrize("key", RESPONSE)
def test_every_key_of_a_response_must_be_there(key: str) -> None:
    assert found(check_response, RESPONSE, drop(key)) == [f"response lacks {key}"]


@pytest.mark.parametrize("key", RESPONSE)
def test_null_stands_only_where_it_may(key: str) -> None:
    assert (found(check_response, RESPONSE, put(key, None)) == []) == (key in NULLABLE)


@pytest.mark.parametrize("key", RESPONSE)
def test_every_value_of_a_response_has_its_kind(key: str) -> None:
    other = 7 if isinstance(RESPONSE[key], str | list | dict) or key in NULLABLE - {"completed_at"} else "7"
    if key in {"max_output_tokens", "max_tool_calls"}:
        other = 7.5
    assert found(check_response, RESPONSE, put(key, other)) != []


DEFECTS = {
    "true for an integer": put("top_logprobs", True),
    "an integer with a fraction": put("created_at", 1.5),
    "another object": put("object", "chat.completion"),
    "another status": put("status", "done"),
    "a tool without a description": drop("tools.0.description"),
    "a tool without parameters": drop("tools.0.parameters"),
    "a tool without strict": drop("tools.0.strict"),
    "another choice of tools": put("tool_choice", "any"),
    "a choice without its mode": put("tool_choice", {"type": "allowed_tools", "tools": []}),
    "no format": drop("text.format"),
    "a schema that is neither strict nor not": put(
        "text.format", {"type": "json_schema", "name": "n", "description": None, "schema": {}, "strict": None}
    ),
    "a verbosity of null": put("text.verbosity", None),
    "no effort": drop("reasoning.effort"),
    "usage without its details": drop("usage.input_tokens_details"),
    "details without their count": drop("usage.output_tokens_details.reasoning_tokens"),
    "an error without a code": put("error", {"message": "m"}),
    "incomplete for no reason": put("incomplete_details", {}),
    "a message without an id": drop("output.1.id"),
    "a message without a status": drop("output.1.status"),
    "a phase of null": put("output.1.phase", None),
    "a content that is text": put("output.1.content", "Hi"),
    "a text without annotations": drop("output.1.content.0.annotations"),
    "logprobs of null": put("output.1.content.0.logprobs", None),
    "a logprob without bytes": drop("output.1.content.0.logprobs.0.bytes"),
    "a citation without a title": drop("output.1.content.0.annotations.0.title"),
    "a part of another type": put("output.1.content.0.type", "text_output"),
    "a call without an id": drop("output.2.id"),
    "a call without a call_id": drop("output.2.call_id"),
    "a call without a status": drop("output.2.status"),
    "arguments that are no text": put("output.2.arguments", {}),
    "reasoning without a summary": drop("output.0.summary"),
    "a content of null in reasoning": put("output.0.content", None),
    "an encrypted content of null": put("output.0.encrypted_content", None),
    "an item of another type": put("output.0.type", "thought"),
    "an incomplete item in a completed response": put("output.2.status", "incomplete"),
}  # fmt: skip


@pytest.mark.parametrize("plant", DEFECTS.values(), ids=DEFECTS)
def test_a_defect_planted_in_a_response_is_found(plant: Callable[[Json], None]) -> None:
    assert len(found(check_response, RESPONSE, plant)) == 1


def test_an_incomplete_item_before_others_is_found() -> None:
    planted = deepcopy(RESPONSE) | {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    planted["output"][1]["status"] = "incomplete"
    assert check_response(planted) == ["an incomplete item is not the last"]


@pytest.mark.parametrize(
    ("event", "key"),
    [(event, key) for event in EVENTS for key in event if key not in {"type", "logprobs"}],
    ids=lambda given: given["type"] if isinstance(given, dict) else given,
)
def test_every_key_of_an_event_must_be_there_and_be_something(event: Json, key: str) -> None:
    assert found(check_event, event, drop(key)) == [f"event lacks {key}"]
    allowed = key in {"item", "annotation"}
    assert (found(check_event, event, put(key, None)) == []) == allowed
    assert found(check_event, event, put(key, [])) != []


@pytest.mark.parametrize("event", [event for event in EVENTS if "logprobs" in event], ids=lambda event: event["type"])
def test_logprobs_of_an_event_are_left_out_rather_than_null(event: Json) -> None:
    assert found(check_event, event, drop("logprobs")) == []
    assert found(check_event, event, put("logprobs", None)) != []


@pytest.mark.parametrize("key", ["type", "code", "message", "param"])
def test_every_key_of_an_error_must_be_there(key: str) -> None:
    assert found(check_event, EVENTS[-2], drop(f"error.{key}")) == [f"event.error lacks {key}"]


@pytest.mark.parametrize("key", COMPACTION)
def test_every_key_of_a_compaction_must_be_there_and_be_something(key: str) -> None:
    assert found(check_compaction, COMPACTION, drop(key)) == [f"compaction lacks {key}"]
    assert found(check_compaction, COMPACTION, put(key, None)) != []


def test_a_compaction_without_its_content_is_found() -> None:
    assert found(check_compaction, COMPACTION, drop("output.1.encrypted_content")) != []


@pytest.mark.parametrize("key", [key for key in OUTPUT if key != "type"])
def test_every_key_of_an_output_must_be_there(key: str) -> None:
    assert found(check_items, [OUTPUT], drop(f"0.{key}")) == [f"items[0] lacks {key}"]


def test_what_is_no_object_at_all_is_found() -> None:
    assert check_response(None) != []
    assert check_items(["Hi"]) != []
    assert check_event([]) != []
    assert check_event({"type": "response.novel", "sequence_number": 1}) != []
    assert check_events(b'data: {"type": "ping"}\n\n') != []
