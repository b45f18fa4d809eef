"""A turn as the body of a Responses request."""

from typing import Any

import orjson
import pytest

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import UnsupportedParameter
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.openai_responses_request import responses_body
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
from trivet.model_service.faces.responses_request import parse

HI = Message("user", (Text("hi"),))
FUNCTION = FunctionTool("f", "d", '{"type":"object"}', strict=True)
CUSTOM = CustomTool("c")


def body(*entries: Entry, **request: Any) -> Any:
    """The body, which also has to be one that the contract knows."""
    made = orjson.loads(orjson.dumps(responses_body(TurnRequest("gpt", entries or (HI,), **request))))
    codec_for(CreateResponseRequest).decode(made, strict=True)
    return made


def item(entry: Entry) -> Any:
    (found,) = body(entry)["input"]
    return found


def test_a_plain_turn_is_not_stored() -> None:
    assert body() == {
        "store": False, "model": "gpt", "input": [{"type": "message", "role": "user", "content": "hi"}], "stream": False,
    }  # fmt: skip


def test_every_parameter_that_the_api_has_is_given() -> None:
    found = body(
        stream=True, parallel_tool_calls=False, max_output_tokens=9, temperature=0.0, top_p=0.5, frequency_penalty=1.0,
        presence_penalty=-1.0, logprobs=True, top_logprobs=2, verbosity="low", reasoning_effort="high",
        reasoning_summary="auto", service_tier="flex", user="u", safety_identifier="s", prompt_cache_key="p",
        metadata={"k": "v"}, extra={"store": "true", "novel": "[1]"},
    )  # fmt: skip

    assert found == {
        "model": "gpt", "input": found["input"], "stream": True, "parallel_tool_calls": False, "max_output_tokens": 9,
        "temperature": 0.0, "top_p": 0.5, "frequency_penalty": 1.0, "presence_penalty": -1.0, "top_logprobs": 2,
        "include": ["message.output_text.logprobs"], "text": {"verbosity": "low"}, "service_tier": "flex", "user": "u",
        "reasoning": {"effort": "high", "summary": "auto"}, "safety_identifier": "s", "prompt_cache_key": "p",
        "metadata": {"k": "v"}, "store": True, "novel": [1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"seed": 0}, "seed"),
        ({"top_k": 1}, "top_k"),
        ({"stop": ("x",)}, "stop"),
        ({"conversation": (Message("user", (Text("hi"),), "Ann", "messages[0]"),)}, "messages[0].name"),
    ],
)
def test_what_the_api_lacks_is_refused_by_name(request_: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        responses_body(TurnRequest(**({"model": "gpt", "conversation": (HI,)} | request_)))

    assert refused.value.param == param


def test_every_part_has_its_form() -> None:
    parts: tuple[Part, ...] = (
        Text("a"),
        Image("https://a.example/i", "low"),
        Image(file_id="file_1"),
        File("data:x", "x.pdf"),
        File(url="https://a.example/f"),
        Audio("AA==", "wav"),
    )

    assert item(Message("user", parts))["content"] == [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "https://a.example/i", "detail": "low"},
        {"type": "input_image", "file_id": "file_1", "detail": "auto"},
        {"type": "input_file", "file_data": "data:x", "filename": "x.pdf"},
        {"type": "input_file", "file_url": "https://a.example/f"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]


def test_what_the_model_said_is_output() -> None:
    assert item(Message("assistant", (Text("a"), Refusal("no"))))["content"] == [
        {"type": "output_text", "text": "a"},
        {"type": "refusal", "refusal": "no"},
    ]


@pytest.mark.parametrize(
    ("entry", "made"),
    [
        (ToolCall("1", "f", "{}"), {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}),
        (ToolCall("1", "c", "x", "custom"), {"type": "custom_tool_call", "call_id": "1", "name": "c", "input": "x"}),
        (ToolResult("1", (Text("r"),)), {"type": "function_call_output", "call_id": "1", "output": "r"}),
        (ToolResult("1", (Text("r"),), "custom"), {"type": "custom_tool_call_output", "call_id": "1", "output": "r"}),
        (
            ToolResult("1", (Text("r"), Image("u"))),
            {
                "type": "function_call_output",
                "call_id": "1",
                "output": [{"type": "input_text", "text": "r"}, {"type": "input_image", "image_url": "u", "detail": "auto"}],
            },
        ),
        (
            Reasoning("t", ("s",), "enc", "rs_1"),
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "s"}],
                "content": [{"type": "reasoning_text", "text": "t"}],
                "encrypted_content": "enc",
            },
        ),
        (Reasoning(encrypted="enc"), {"type": "reasoning", "summary": [], "encrypted_content": "enc"}),
    ],
)
def test_every_entry_is_an_item(entry: Entry, made: Any) -> None:
    assert item(entry) == made


def test_a_function_is_strict_only_when_it_is_said_to_be() -> None:
    found = body(tools=(FUNCTION, FunctionTool("g")))["tools"]

    assert found == [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        {"type": "function", "name": "g", "parameters": None, "strict": False},
    ]


def test_hosted_and_custom_tools_are_given() -> None:
    grammar = '{"type":"grammar","grammar":{"definition":"start: X","syntax":"lark"}}'

    found = body(
        tools=(
            HostedTool("web_search", '{"type":"web_search"}'),
            CustomTool("c", "d", grammar),
            CustomTool("e", "", '{"type":"text"}'),
        )
    )

    assert found["tools"] == [
        {"type": "web_search"},
        {
            "type": "custom",
            "name": "c",
            "description": "d",
            "format": {"type": "grammar", "definition": "start: X", "syntax": "lark"},
        },
        {"type": "custom", "name": "e", "format": {"type": "text"}},
    ]


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        (ToolChoice("none"), "none"),
        (ToolChoice("required", "named", ("f",)), {"type": "function", "name": "f"}),
        (ToolChoice("required", "named", ("c",), "custom"), {"type": "custom", "name": "c"}),
        (ToolChoice(kind="hosted", hosted='{"type":"web_search"}'), {"type": "web_search"}),
        (
            ToolChoice("auto", "allowed", ("f", "c")),
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
            },
        ),
    ],
)
def test_every_choice_of_tools_is_given(choice: ToolChoice, made: Any) -> None:
    assert body(tools=(FUNCTION, CUSTOM), tool_choice=choice)["tool_choice"] == made


@pytest.mark.parametrize(
    ("form", "made"),
    [
        (TextFormat("text"), {"type": "text"}),
        (TextFormat("json_object"), {"type": "json_object"}),
        (
            TextFormat("json_schema", "n", "d", '{"type":"object"}', strict=False),
            {"type": "json_schema", "name": "n", "description": "d", "schema": {"type": "object"}, "strict": False},
        ),
    ],
)
def test_every_form_of_text_is_given(form: TextFormat, made: Any) -> None:
    assert body(text_format=form)["text"] == {"format": made}


def test_a_request_of_this_api_that_became_a_turn_asks_for_the_same() -> None:
    given = {
        "model": "gpt",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "enc"},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "42"},
        ],
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}],
        "tool_choice": "auto",
        "include": ["message.output_text.logprobs"],
        "temperature": 0.5,
        "novel": [1],
        "stream": True,
        "store": False,
    }

    turn = parse(codec_for(CreateResponseRequest).decode(given, strict=True), "gpt", stream=True)

    assert orjson.loads(orjson.dumps(responses_body(turn))) == given


@pytest.mark.parametrize("name", ["background", "input", "stream"])
def test_an_extra_parameter_that_a_turn_would_lose_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        body(extra={name: "true"})
    assert refused.value.param == name
