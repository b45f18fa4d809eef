"""The chat face reads a request into a turn, and refuses by name what only a chat upstream could be asked for."""

from typing import Any

import pytest

from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model_service.domain.turn import (
    Audio,
    CustomTool,
    File,
    FunctionTool,
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
from trivet.model_service.faces.chat_request import parse_chat

USER: dict[str, Any] = {"role": "user", "content": "hi"}


def parsed(*messages: dict[str, Any], stream: bool = False, **more: Any) -> TurnRequest:
    body = {"model": "oai/m", "messages": list(messages) or [USER], **more}
    return parse_chat(codec_for(CreateChatCompletionRequest).decode(body), "m", stream=stream)


def test_a_plain_request_asks_for_nothing_more() -> None:
    assert parsed() == TurnRequest("m", (Message("user", (Text("hi"),), param="messages[0]"),))
    assert parsed(stream=True).stream


def test_every_parameter_arrives() -> None:
    same: dict[str, Any] = {
        "parallel_tool_calls": False,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 3,
        "frequency_penalty": 1.0,
        "presence_penalty": -1.0,
        "seed": 0,
        "logprobs": True,
        "top_logprobs": 2,
        "verbosity": "low",
        "reasoning_effort": "high",
        "service_tier": "flex",
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "metadata": {"a": "b"},
    }
    turn = parsed(**same, max_tokens=5, stop="x", store=True, prompt_cache_retention="24h", min_p=0.1, n=1)
    assert {name: getattr(turn, name) for name in same} == same
    assert (turn.max_output_tokens, turn.stop) == (5, ("x",))
    assert turn.extra == {"store": "true", "prompt_cache_retention": '"24h"', "min_p": "0.1"}
    assert parsed(max_tokens=5, max_completion_tokens=6, stop=["x", "y"]).stop == ("x", "y")
    assert parsed(max_tokens=5, max_completion_tokens=6).max_output_tokens == 6


def test_null_is_as_good_as_absent() -> None:
    nulls: dict[str, Any] = dict.fromkeys(
        ("temperature", "tools", "stop", "n", "audio", "functions", "response_format", "logit_bias")
    )
    assert parsed(**nulls) == parsed()


def test_a_conversation_becomes_entries() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "add", "arguments": "{}", "parsed_arguments": {"a": 1}}}
    custom = {"id": "b", "type": "custom", "custom": {"name": "run", "input": "x"}}
    said = {"role": "assistant", "content": "so", "reasoning_content": "hm", "tool_calls": [call, custom]}
    turn = parsed(
        {"role": "system", "content": "s", "name": "n"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        said | {"annotations": [{"type": "url_citation"}], "audio": None, "parsed": {"a": 1}},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
        {"role": "assistant", "refusal": "no"},
    )
    assert turn.conversation == (
        Message("system", (Text("s"),), "n", "messages[0]"),
        Message("developer", (Text("d"),), param="messages[1]"),
        Reasoning(text="hm", param="messages[2]"),
        Message("assistant", (Text("so"),), param="messages[2]"),
        ToolCall("a", "add", "{}", "function", "messages[2].tool_calls[0]"),
        ToolCall("b", "run", "x", "custom", "messages[2].tool_calls[1]"),
        ToolResult("a", (Text("1"),), "function", "messages[3]"),
        ToolResult("b", (Text("2"),), "custom", "messages[4]"),
        Message("assistant", (Refusal("no"),), param="messages[5]"),
    )


def test_a_name_stays_with_a_message_that_only_calls_tools() -> None:
    call = {"id": "a", "type": "function", "index": 0, "function": {"name": "add", "arguments": "{}"}}
    entries = parsed({"role": "assistant", "name": "bob", "tool_calls": [call]}).conversation
    assert entries[0] == Message("assistant", (), "bob", "messages[0]")


def test_calls_in_the_older_form_get_ids_that_their_results_share() -> None:
    call = {"role": "assistant", "function_call": {"name": "add", "arguments": "{}"}}
    result = {"role": "function", "name": "add", "content": "1"}
    entries = parsed(call, result, call, result).conversation
    calls = [entry.id for entry in entries if isinstance(entry, ToolCall)]
    assert len(set(calls)) == 2
    assert [entry.call_id for entry in entries if isinstance(entry, ToolResult)] == calls


def test_every_part_arrives() -> None:
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:,x", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "f"}},
    ]
    [message] = parsed({"role": "user", "content": parts}).conversation
    assert isinstance(message, Message)
    assert message.parts == (
        Text("look"),
        Image("https://x/y.png", "low"),
        Audio("AAAA", "wav"),
        File("data:,x", "a.pdf"),
        File(file_id="f"),
    )
    said = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert parsed(said).conversation == (Message("assistant", (Refusal("no"),), param="messages[0]"),)


def test_tools_and_formats_arrive() -> None:
    schema = {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True}
    turn = parsed(
        tools=[
            {"type": "function", "function": {"name": "add", "description": "d", "parameters": {"a": 1}, "strict": True}},
            {"type": "custom", "custom": {"name": "run", "format": {"type": "text"}}},
        ],
        response_format={"type": "json_schema", "json_schema": schema},
    )
    assert turn.tools == (FunctionTool("add", "d", '{"a":1}', strict=True), CustomTool("run", "", '{"type":"text"}'))
    assert turn.text_format == TextFormat("json_schema", "n", "d", '{"type":"object"}', strict=True)
    assert parsed(response_format={"type": "text"}).text_format == TextFormat()
    assert parsed(response_format={"type": "json_object"}).text_format == TextFormat("json_object")


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("none", ToolChoice("none")),
        ({"type": "function", "function": {"name": "add"}}, ToolChoice("required", "named", ("add",))),
        ({"type": "custom", "custom": {"name": "run"}}, ToolChoice("required", "named", ("run",), "custom")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "add"}}]},
            },
            ToolChoice("auto", "allowed", ("add",)),
        ),
    ],
)
def test_a_tool_choice_arrives(choice: object, read: ToolChoice) -> None:
    assert parsed(tool_choice=choice).tool_choice == read


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"prediction": {"type": "content"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"functions": [{"name": "add"}]}, "functions"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"messages": [USER | {"x": 1}]}, "messages[0].x"),
        ({"stream_options": {"x": 1}}, "stream_options.x"),
        ({"tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"a": 1}}]}, "tools[0].cache_control"),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "novel"}]}}},
            "tool_choice.allowed_tools.tools[0]",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"a": 1}}]}]},
            "messages[0].content[0].cache_control",
        ),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "computer", "id": "a"}]}]},
            "messages[0].tool_calls[0]",
        ),
    ],
)
def test_what_only_chat_can_say_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        parsed(**more)
    assert caught.value.param == param


def test_an_unknown_mode_of_choice_is_invalid() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(tool_choice="maybe")
    assert caught.value.param == "tool_choice"
