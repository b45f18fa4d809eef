"""A turn as the body of a chat completions request: everything it can say, and a clear refusal of what it cannot."""

from typing import Any

import orjson
import pytest

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.chat_flavors import COMPATIBLE, OPENAI, ChatFlavor
from trivet.model_service.adapters.openai_chat_request import chat_body
from trivet.model_service.domain.turn import (
    Audio,
    CustomTool,
    Entry,
    File,
    FunctionTool,
    HostedTool,
    Image,
    Message,
    Reasoning,
    Refusal,
    Text,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolResult,
    TurnRequest,
)


def body(*conversation: Entry, flavor: ChatFlavor = COMPATIBLE, **more: Any) -> dict[str, Any]:
    asked = chat_body(TurnRequest(model="m", conversation=conversation, **more), flavor)
    result: dict[str, Any] = orjson.loads(orjson.dumps(asked))
    return result


def messages(*conversation: Entry, flavor: ChatFlavor = COMPATIBLE) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(*conversation, flavor=flavor)["messages"]
    return found


USER = Message("user", (Text("hi"),))


def test_a_plain_turn_asks_for_nothing_more() -> None:
    assert body(USER) == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_a_stream_asks_for_its_usage() -> None:
    assert body(USER, stream=True)["stream_options"] == {"include_usage": True}


def test_every_parameter_arrives() -> None:
    asked = body(
        USER,
        parallel_tool_calls=False,
        max_output_tokens=9,
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        frequency_penalty=1.0,
        presence_penalty=-1.0,
        seed=0,
        stop=("a", "b"),
        logprobs=True,
        top_logprobs=2,
        verbosity="low",
        reasoning_effort="high",
        reasoning_summary="auto",
        service_tier="flex",
        user="u",
        safety_identifier="s",
        prompt_cache_key="k",
        metadata={"a": "b"},
        extra={"min_p": "0.1"},
    )
    del asked["messages"]
    assert asked == {
        "model": "m",
        "parallel_tool_calls": False,
        "max_tokens": 9,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 3,
        "frequency_penalty": 1.0,
        "presence_penalty": -1.0,
        "seed": 0,
        "stop": ["a", "b"],
        "logprobs": True,
        "top_logprobs": 2,
        "verbosity": "low",
        "reasoning_effort": "high",
        "service_tier": "flex",
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "metadata": {"a": "b"},
        "min_p": 0.1,
    }


def test_openai_itself_is_asked_in_its_current_words() -> None:
    asked = body(Message("developer", (Text("d"),)), flavor=OPENAI, max_output_tokens=9)
    assert asked["max_completion_tokens"] == 9
    assert asked["messages"] == [{"role": "developer", "content": "d"}]
    assert messages(Message("developer", (Text("d"),))) == [{"role": "system", "content": "d"}]


def test_every_part_has_its_form() -> None:
    parts = (
        Text("look"),
        Image(url="https://x/y.png", detail="low"),
        Image(url="data:image/png;base64,AA=="),
        Audio("AAAA", "wav"),
        File(data="data:application/pdf;base64,AA==", filename="a.pdf"),
        File(file_id="file-1"),
    )
    [message] = messages(Message("user", parts, name="ann"))
    assert message["name"] == "ann"
    assert message["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]


def call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "add", "arguments": "{}"}}


def test_thought_text_and_calls_of_one_turn_are_one_message() -> None:
    assert messages(
        USER,
        Reasoning(text="hm"),
        Message("assistant", (Text("let me see"),)),
        ToolCall("a", "add", "{}"),
        ToolCall("b", "run", "x", "custom"),
        ToolResult("a", (Text("1"),)),
        ToolResult("b", (Text("2"),), "custom"),
        Reasoning(summary=("so", "then")),
        Message("assistant", (Text("done"),)),
    ) == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "let me see",
            "reasoning_content": "hm",
            "tool_calls": [call("a"), {"id": "b", "type": "custom", "custom": {"name": "run", "input": "x"}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "assistant", "content": "done", "reasoning_content": "so\n\nthen"},
    ]


def test_text_after_calls_stays_before_their_results() -> None:
    said = messages(ToolCall("a", "add", "{}"), Message("assistant", (Text("wait"),)), ToolResult("a", ()))
    assert said == [
        {"role": "assistant", "content": "wait", "tool_calls": [call("a")]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
    ]


def test_two_texts_of_the_assistant_are_two_messages_and_calls_are_content_null() -> None:
    assert messages(
        Message("assistant", (Text("one"),)), Message("assistant", (Text("two"),)), USER, ToolCall("a", "add", "{}")
    ) == [
        {"role": "assistant", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call("a")]},
    ]


def test_a_refusal_is_said_as_one() -> None:
    said = messages(Message("assistant", (Refusal("no"),)), Message("assistant", (Text("well"), Refusal("no"))))
    assert said == [
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": "well", "refusal": "no"},
    ]


def test_reasoning_of_which_nothing_is_left_says_nothing() -> None:
    assert messages(Reasoning(id="rs_1"), USER) == [{"role": "user", "content": "hi"}]


TOOLS = (FunctionTool("add", "adds", '{"type":"object"}', strict=False), CustomTool("run", "runs", '{"type":"text"}'))


def test_tools_are_offered_in_their_form() -> None:
    function = {"name": "add", "description": "adds", "parameters": {"type": "object"}, "strict": False}
    assert body(USER, tools=(*TOOLS, FunctionTool("bare")))["tools"] == [
        {"type": "function", "function": function},
        {"type": "custom", "custom": {"name": "run", "description": "runs", "format": {"type": "text"}}},
        {"type": "function", "function": {"name": "bare"}},
    ]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ToolChoice("required"), "required"),
        (ToolChoice(kind="named", names=("add",)), {"type": "function", "function": {"name": "add"}}),
        (
            ToolChoice(kind="named", names=("run",), tool_kind="custom"),
            {"type": "custom", "custom": {"name": "run"}},
        ),
    ],
)
def test_a_tool_choice_has_its_form(choice: ToolChoice, said: object) -> None:
    assert body(USER, tools=TOOLS, tool_choice=choice)["tool_choice"] == said


def test_a_choice_among_some_tools_offers_only_those_where_it_cannot_be_said() -> None:
    choice = ToolChoice("required", "allowed", ("run",))
    asked = body(USER, tools=TOOLS, tool_choice=choice)
    assert ([tool["type"] for tool in asked["tools"]], asked["tool_choice"]) == (["custom"], "required")
    asked = body(USER, tools=TOOLS, tool_choice=choice, flavor=OPENAI)
    assert len(asked["tools"]) == 2
    assert asked["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "custom", "custom": {"name": "run"}}]},
    }


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (TextFormat(), {"type": "text"}),
        (TextFormat("json_object"), {"type": "json_object"}),
        (
            TextFormat("json_schema", "n", "d", '{"type":"object"}', strict=True),
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True},
            },
        ),
    ],
)
def test_a_text_format_has_its_form(wanted: TextFormat, said: object) -> None:
    assert body(USER, text_format=wanted)["response_format"] == said


@pytest.mark.parametrize(
    ("entry", "more", "param"),
    [
        (Message("user", (Text("a"), Image(file_id="f")), param="input[0]"), {}, "input[0].content[1]"),
        (Message("user", (File(url="https://x"),), param="input[0]"), {}, "input[0].content[0]"),
        (ToolResult("a", (Image(url="https://x"),), param="input[3]"), {}, "input[3]"),
        (Reasoning(encrypted="xx", param="input[1]"), {}, "input[1].encrypted_content"),
        (USER, {"tools": (HostedTool("web_search", "{}", "tools[0]"),)}, "tools[0]"),
        (USER, {"tool_choice": ToolChoice(kind="hosted", hosted="{}")}, "tool_choice"),
        (USER, {"reasoning_summary": "detailed"}, "reasoning.summary"),
        (USER, {"top_k": 1, "flavor": OPENAI}, "top_k"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(entry: Entry, more: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        body(entry, **more)
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["messages", "model", "n", "functions", "modalities"])
def test_an_extra_parameter_that_a_turn_would_lose_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        body(extra={name: "2"})
    assert refused.value.param == name
