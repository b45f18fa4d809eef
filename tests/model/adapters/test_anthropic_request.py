"""Turns as the bodies of Messages requests."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.anthropic_models import claude
from trivet.model_service.adapters.anthropic_request import count_body, messages_body
from trivet.model_service.domain.seals import seal
from trivet.model_service.domain.turn import (
    Audio,
    CustomTool,
    Entry,
    File,
    FunctionTool,
    HostedTool,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolResult,
    TurnRequest,
)

Json = dict[str, Any]

NEW, OLD, OLDEST = "claude-opus-4-8", "claude-haiku-4-5-20251001", "claude-3-haiku-20240307"

HI = Message("user", (Text("hi"),), param="messages[0]")
SCHEMA = '{"type":"object","properties":{"a":{"type":"integer"}}}'
ADD, SUB = FunctionTool("add", "adds", SCHEMA, strict=True), FunctionTool("sub", strict=False)
PDF = "JVBERi0xLjQ="


def turn(*entries: Entry, model: str = NEW, **more: Any) -> TurnRequest:
    return TurnRequest(model, entries or (HI,), **more)


def body(*entries: Entry, **more: Any) -> Json:
    found: Json = orjson.loads(orjson.dumps(messages_body(turn(*entries, **more))))
    return found


def messages(*entries: Entry) -> list[Json]:
    found: list[Json] = body(*entries)["messages"]
    return found


def refused(*entries: Entry, **more: Any) -> str:
    with pytest.raises(UnsupportedParameter) as caught:
        body(*entries, **more)
    return caught.value.param


def said(role: Any, text: str) -> Message:
    return Message(role, (Text(text),))


def text(of: str) -> Json:
    return {"type": "text", "text": of}


# ---- the conversation ----------------------------------------------------------------------------------------------


def test_the_least_request() -> None:
    assert body() == {"model": NEW, "max_tokens": 32000, "messages": [{"role": "user", "content": [text("hi")]}]}


def test_instructions_at_the_beginning_are_the_system_prompt_and_later_ones_keep_their_place() -> None:
    found = body(
        said("system", "one"),
        said("developer", "two"),
        said("system", ""),
        HI,
        said("assistant", "yes"),
        said("system", "three"),
        said("user", "go on"),
    )
    assert found["system"] == [text("one"), text("two")]
    assert found["messages"] == [
        {"role": "user", "content": [text("hi")]},
        {"role": "assistant", "content": [text("yes")]},
        {"role": "user", "content": [text("<system>\nthree\n</system>"), text("go on")]},
    ]


def test_turns_alternate_and_results_come_first() -> None:
    calls = (ToolCall("c1", "add", '{"a": 1}'), ToolCall("c:2", "now", ""))
    results = (ToolResult("c1", (Text("3"),)), ToolResult("c:2", ()))
    assert messages(HI, said("user", "add"), said("assistant", "I add."), *calls, said("user", "quick"), *results) == [
        {"role": "user", "content": [text("hi"), text("add")]},
        {
            "role": "assistant",
            "content": [
                text("I add."),
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                {"type": "tool_use", "id": "c_2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "3"},
                {"type": "tool_result", "tool_use_id": "c_2"},
                text("quick"),
            ],
        },
    ]


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", "5"])
def test_arguments_that_are_no_object_are_told_as_what_they_are(arguments: str) -> None:
    [_, assistant] = messages(HI, ToolCall("c1", "add", arguments))
    assert assistant["content"][0]["input"] == {"INVALID_JSON": arguments}


def test_thoughts_of_this_api_go_back_as_they_came_and_others_are_passed_over() -> None:
    thoughts = (
        Reasoning("hm", encrypted=seal("anthropic", "thinking", "s:1")),
        Reasoning(encrypted=seal("anthropic", "redacted", "d:1")),
        Reasoning(encrypted=seal("anthropic", "thinking", "s2")),
        Reasoning("of others", encrypted="gAAAA"),
        Reasoning(encrypted=seal("novel", "thinking", "x")),
        Reasoning("unsigned", ("summary",)),
    )
    [_, assistant] = messages(HI, *thoughts, ToolCall("c1", "add", "{}"))
    assert assistant["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s:1"},
        {"type": "redacted_thinking", "data": "d:1"},
        {"type": "thinking", "thinking": "", "signature": "s2"},
        {"type": "tool_use", "id": "c1", "name": "add", "input": {}},
    ]
    assert refused(HI, Reasoning(encrypted="gAAAA", param="input[1]")) == "input[1]"


def document(source: Json, **more: Any) -> Json:
    return {"type": "document", "source": source, **more}


def encoded(media_type: str, data: str) -> Json:
    return {"type": "base64", "media_type": media_type, "data": data}


PLAIN = {"type": "text", "media_type": "text/plain", "data": "hi"}


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (Refusal("no"), text("no")),
        (Image("https://a.example/b.png", "low"), {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}),
        (Image("data:image/png;base64,AA=="), {"type": "image", "source": encoded("image/png", "AA==")}),
        (Image(file_id="file_1"), {"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
        (File(PDF, "a.pdf"), document(encoded("application/pdf", PDF), title="a.pdf")),
        (File("AAAA", "a.pdf"), document(encoded("application/pdf", "AAAA"), title="a.pdf")),
        (File(f"data:application/pdf;base64,{PDF}"), document(encoded("application/pdf", PDF))),
        (File("data:text/csv;charset=utf-8;base64,aGk="), document(PLAIN)),
        (File("aGk=", "notes.md"), document(PLAIN, title="notes.md")),
        (File("aGk=", "a.json"), document(PLAIN, title="a.json")),
        (File("AA==", "a.png"), {"type": "image", "source": encoded("image/png", "AA==")}),
        (File(url="https://a.example/b.pdf"), document({"type": "url", "url": "https://a.example/b.pdf"})),
        (File(file_id="file_1", filename="b"), document({"type": "file", "file_id": "file_1"}, title="b")),
    ],
)
def test_each_part_is_a_block_of_a_message_and_of_a_result(part: Part, block: Json) -> None:
    [user] = messages(Message("user", (Text(""), part)))
    assert user["content"] == [block]
    [_, _, result] = messages(HI, ToolCall("c1", "add", "{}"), ToolResult("c1", (Text("a"), part)))
    assert result["content"][0]["content"] == [text("a"), block]


@pytest.mark.parametrize(
    ("entry", "param"),
    [
        (Message("user", (Text("a"), Audio("AA==", "wav")), param="messages[1]"), "messages[1].content[1]"),
        (Message("user", (File("AA=="),), param="messages[1]"), "messages[1].content[0]"),
        (Message("user", (File("AA==", "a.zip"),), param="messages[1]"), "messages[1].content[0]"),
        (Message("user", (File("//79", "a.txt"),), param="messages[1]"), "messages[1].content[0]"),
        (Message("user", (File("%%", "a.txt"),), param="messages[1]"), "messages[1].content[0]"),
        (Message("user", (Image("data:image/png,raw"),), param="messages[1]"), "messages[1].content[0]"),
        (Message("system", (Image("https://a.example"),), param="messages[1]"), "messages[1].content[0]"),
        (Message("user", (Text("a"),), "bob", "messages[1]"), "messages[1].name"),
        (ToolResult("c1", (Audio("AA==", "wav"),), param="messages[1]"), "messages[1]"),
        (ToolCall("c1", "run", "x", "custom", "messages[1]"), "messages[1]"),
        (ToolResult("c1", (Text("x"),), "custom", "messages[1]"), "messages[1]"),
    ],
)
def test_what_no_block_can_hold_is_refused_by_name(entry: Entry, param: str) -> None:
    assert refused(HI, entry) == param


# ---- tools ---------------------------------------------------------------------------------------------------------


def test_tools_have_a_schema_and_are_strict_where_that_is_asked() -> None:
    assert body(tools=(ADD, SUB))["tools"] == [
        {"name": "add", "description": "adds", "strict": True, "input_schema": orjson.loads(SCHEMA)},
        {"name": "sub", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("required"), None, {"type": "any"}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required", "named", ("sub",)), None, {"type": "tool", "name": "sub"}),
        (ToolChoice("required", "named", ("sub",)), False, {"type": "tool", "name": "sub", "disable_parallel_tool_use": True}),
        (ToolChoice("auto", "allowed", ("sub",)), None, {"type": "auto"}),
        (ToolChoice("required", "allowed", ("sub",)), None, {"type": "any"}),
    ],
)
def test_each_choice_of_tools(choice: ToolChoice | None, parallel: bool | None, expected: Json | None) -> None:
    found = body(tools=(ADD, SUB), tool_choice=choice, parallel_tool_calls=parallel)
    assert found.get("tool_choice") == expected
    offered = ["sub"] if choice is not None and choice.kind == "allowed" else ["add", "sub"]
    assert [tool["name"] for tool in found["tools"]] == offered


def test_without_tools_nothing_is_chosen() -> None:
    assert "tool_choice" not in body(tool_choice=ToolChoice("auto"), parallel_tool_calls=False)
    assert refused(tool_choice=ToolChoice("required")) == "tool_choice"
    assert refused(tools=(ADD,), tool_choice=ToolChoice("required", "allowed", ("other",))) == "tool_choice"


def test_tools_of_other_kinds_are_refused_by_name() -> None:
    assert refused(tools=(CustomTool("run", param="tools[0]"),)) == "tools[0]"
    assert refused(tools=(HostedTool("mcp", "{}", "tools[0]"),)) == "tools[0]"
    assert refused(tools=(ADD,), tool_choice=ToolChoice(kind="hosted", hosted="{}")) == "tool_choice"


# ---- parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"max_output_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 0.5, "top_p": 0.5, "top_k": 5}, {"temperature": 0.5, "top_p": 0.5, "top_k": 5}),
        ({"stop": ("a", "b")}, {"stop_sequences": ["a", "b"]}),
        ({"stream": True}, {"stream": True}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"safety_identifier": "u", "user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"metadata": {"user_id": "u"}}, {"metadata": {"user_id": "u"}}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"frequency_penalty": 0.0, "presence_penalty": 0.0}, {}),
        ({"verbosity": "medium", "prompt_cache_key": "k", "logprobs": False}, {}),
        ({"extra": {"cache_control": '{"type":"ephemeral"}'}}, {"cache_control": {"type": "ephemeral"}}),
        ({"extra": {"thinking": '{"type":"disabled"}'}}, {"thinking": {"type": "disabled"}}),
        ({"extra": {"store": "false"}}, {}),
        ({"text_format": TextFormat()}, {}),
        (
            {"text_format": TextFormat("json_schema", "n", "what", '{"type":"object"}', strict=True)},
            {"output_config": {"format": {"type": "json_schema", "schema": {"description": "what", "type": "object"}}}},
        ),
    ],
)
def test_each_parameter_has_its_place(asked: Json, sent: Json) -> None:
    assert body(**asked) == body() | sent


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": 1.0}, "presence_penalty"),
        ({"seed": 0}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"verbosity": "low"}, "verbosity"),
        ({"verbosity": "low", "names": {"verbosity": "text.verbosity"}}, "text.verbosity"),
        ({"reasoning_summary": "detailed"}, "reasoning.summary"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"user": "a", "safety_identifier": "b"}, "safety_identifier"),
        ({"text_format": TextFormat("json_object")}, "text_format"),
        ({"extra": {"store": "true"}}, "store"),
        ({"extra": {"n": "2"}}, "n"),
        ({"extra": {"prompt_cache_retention": '"24h"'}}, "prompt_cache_retention"),
        ({"extra": {"system": '"x"'}, "conversation": (said("system", "a"), HI)}, "system"),
        ({"extra": {"thinking": "{}"}, "reasoning_effort": "low"}, "thinking"),
    ],
)
def test_what_this_api_cannot_be_asked_is_refused_by_name(asked: Json, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        messages_body(replace(turn(), **asked))
    assert caught.value.param == param


def test_what_is_counted_is_what_would_be_sent() -> None:
    asked = turn(said("system", "s"), HI, tools=(ADD,), temperature=0.5, stream=True, reasoning_effort=None, max_output_tokens=5)
    counted = count_body(asked)
    assert counted.keys() == {"model", "messages", "system", "tools"}
    assert counted == {key: messages_body(asked)[key] for key in counted} | {"tools": counted["tools"]}


# ---- thinking ------------------------------------------------------------------------------------------------------

ADAPTIVE = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        (NEW, None, {}),
        (NEW, "none", {"thinking": {"type": "disabled"}}),
        (NEW, "minimal", {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}),
        (NEW, "high", {"thinking": ADAPTIVE, "output_config": {"effort": "high"}}),
        (NEW, "max", {"thinking": ADAPTIVE, "output_config": {"effort": "max"}, "max_tokens": 64000}),
        (OLD, None, {}),
        (OLD, "none", {"thinking": {"type": "disabled"}}),
        (OLD, "minimal", {"thinking": {"type": "enabled", "budget_tokens": 3200}}),
        (OLD, "low", {"thinking": {"type": "enabled", "budget_tokens": 6400}}),
        (OLD, "medium", {"thinking": {"type": "enabled", "budget_tokens": 16000}}),
        (OLD, "high", {"thinking": {"type": "enabled", "budget_tokens": 25600}}),
        ("tiny", "low", {"thinking": {"type": "enabled", "budget_tokens": 1638}}),
        (OLDEST, "none", {}),
    ],
)
def test_an_effort_is_said_as_the_model_wants_it(model: str, effort: str | None, sent: Json) -> None:
    assert body(model=model, reasoning_effort=effort) == body(model=model) | sent


def test_a_budget_is_a_share_of_the_limit_and_leaves_room() -> None:
    thinking = body(model=OLD, reasoning_effort="high", max_output_tokens=1100)["thinking"]
    assert thinking["budget_tokens"] == 1024
    names = {"reasoning_effort": "reasoning.effort"}
    assert refused(model=OLD, reasoning_effort="low", max_output_tokens=1024, names=names) == "reasoning.effort"


def test_a_summary_shows_what_a_model_thinks_anyway() -> None:
    assert body(reasoning_summary="auto")["thinking"] == ADAPTIVE
    assert "thinking" not in body(model=OLD, reasoning_summary="auto")


@pytest.mark.parametrize(
    ("model", "effort"),
    [("claude-fable-5-1", "none"), (OLDEST, "low"), (OLD, "max"), (OLD, "novel")],
)
def test_an_effort_that_a_model_has_not_is_refused(model: str, effort: str) -> None:
    assert refused(model=model, reasoning_effort=effort) == "reasoning_effort"


@pytest.mark.parametrize("model", [NEW, OLD])
@pytest.mark.parametrize("more", [{"temperature": 0.5}, {"top_p": 0.9}, {"top_k": 1}])
def test_sampling_is_refused_beside_an_effort(model: str, more: Json) -> None:
    assert [refused(model=model, reasoning_effort="low", **more)] == list(more)
    assert body(model=model, reasoning_effort="low", temperature=1, top_p=0.95)["temperature"] == 1
    assert body(model=model, reasoning_effort="none", **more).items() >= more.items()


def test_a_forced_call_is_refused_beside_a_budget() -> None:
    forced = {"tools": (ADD,), "tool_choice": ToolChoice("required"), "reasoning_effort": "low"}
    assert refused(model=OLD, **forced) == "tool_choice"
    assert body(model=NEW, **forced)["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize(
    ("model", "thinking", "can_stop", "limit"),
    [
        ("claude-2.1", "none", True, 4096),
        ("claude-3-opus-20240229", "none", True, 4096),
        ("claude-3-5-sonnet-20241022", "none", True, 8192),
        ("claude-3-7-sonnet-latest", "budget", True, 32000),
        ("claude-opus-4-20250514", "budget", True, 32000),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", "budget", True, 32000),
        ("claude-sonnet-4@20250514", "budget", True, 32000),
        ("anthropic/claude-sonnet-4.5", "budget", True, 32000),
        ("claude-sonnet-4-6", "adaptive", True, 32000),
        ("claude-opus-5", "adaptive", True, 32000),
        ("claude-haiku-5-5", "adaptive", True, 32000),
        ("claude-fable-5-2", "adaptive", False, 32000),
        ("claude-mythos-preview", "adaptive", False, 32000),
        ("some-model", "budget", True, 8192),
    ],
)
def test_models_are_told_apart_by_their_names(model: str, thinking: str, can_stop: bool, limit: int) -> None:
    known = claude(model)
    assert (known.thinking, known.can_stop_thinking, known.max_tokens) == (thinking, can_stop, limit)
