"""A turn as the body of a Converse request: everything it can say, and a clear refusal of what it cannot."""

from typing import Any, cast

import orjson
import pytest

from trivet.kernel.errors import InvalidRequest, ServiceError, UnsupportedParameter
from trivet.model_service.adapters.bedrock_request import converse_body
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
    Reasoning,
    Refusal,
    Text,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolResult,
    TurnRequest,
)

HI = Message("user", (Text("hi"),), param="messages[0]")
PNG = "data:image/png;base64,AA=="
F, G = FunctionTool("f"), FunctionTool("g", "does g", '{"type":"object"}', strict=True)
CALLED = (HI, ToolCall("c", "f", ""), ToolResult("c", (Text("1"),)))


def body(*conversation: Entry, **more: Any) -> dict[str, Any]:
    asked = converse_body(TurnRequest("m", conversation or (HI,), **more))
    return cast("dict[str, Any]", orjson.loads(orjson.dumps(asked)))


def content(*parts: Any) -> list[dict[str, Any]]:
    [message] = body(Message("user", parts, param="messages[0]"))["messages"]
    return cast("list[dict[str, Any]]", message["content"])


def refused(*conversation: Entry, **more: Any) -> ServiceError:
    with pytest.raises((UnsupportedParameter, InvalidRequest)) as error:
        body(*conversation, **more)
    return error.value


def test_every_parameter_arrives() -> None:
    asked = body(
        max_output_tokens=9,
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        stop=("a",),
        reasoning_effort="high",
        reasoning_summary="auto",
        service_tier="flex",
        metadata={"team": "a"},
        text_format=TextFormat("json_schema", "n", "d", '{"type":"object"}', strict=True),
        extra={
            "thinking": '{"type":"enabled","budget_tokens":1024}',
            "additionalModelRequestFields": '{"min_p":0.1}',
            "guardrailConfig": '{"guardrailIdentifier":"g","guardrailVersion":"1"}',
            "store": "false",
        },
    )
    del asked["messages"]
    assert asked == {
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.0, "topP": 0.5, "stopSequences": ["a"]},
        "outputConfig": {
            "effort": "high",
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"schema": '{"type":"object"}', "name": "n", "description": "d"}},
            },
        },
        "serviceTier": {"type": "flex"},
        "requestMetadata": {"team": "a"},
        "additionalModelRequestFields": {
            "top_k": 3,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "min_p": 0.1,
        },
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
    }


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"seed": 0}, "seed"),
        ({"frequency_penalty": 0.0}, "frequency_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"verbosity": "low", "names": {"verbosity": "text.verbosity"}}, "text.verbosity"),
        ({"user": "u"}, "user"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"reasoning_summary": "detailed"}, "reasoning.summary"),
        ({"text_format": TextFormat("json_object"), "names": {"text_format": "response_format"}}, "response_format"),
        ({"extra": {"inferenceConfig": "{}"}}, "inferenceConfig"),
        ({"extra": {"store": "true"}}, "store"),
        ({"extra": {"additionalModelRequestFields": "[]"}}, "additionalModelRequestFields"),
        ({"extra": {"cache_control": '{"type":"novel"}'}}, "cache_control"),
        ({"extra": {"cache_control": '{"type":"ephemeral","x":1}'}}, "cache_control"),
        ({"tools": (CustomTool("grep", param="tools[1]"),)}, "tools[1]"),
        ({"tools": (HostedTool("web_search", "{}", "tools[3]"),)}, "tools[3]"),
        ({"tool_choice": ToolChoice("required")}, "tool_choice"),
        ({"tools": (F,), "tool_choice": ToolChoice("required", "named", ("f",), "custom")}, "tool_choice"),
        ({"tools": (F,), "tool_choice": ToolChoice(kind="hosted", hosted="{}")}, "tool_choice"),
    ],
)
def test_what_converse_has_no_word_for_is_refused_by_name(given: dict[str, Any], param: str) -> None:
    assert refused(**given).param == param


def test_a_text_and_the_default_tier_ask_for_nothing() -> None:
    assert body(text_format=TextFormat(), service_tier="auto", parallel_tool_calls=True) == body()


def test_the_prompt_is_cached_after_the_system_and_the_conversation() -> None:
    asked = body(Message("system", (Text("be brief"),)), HI, extra={"cache_control": '{"type":"ephemeral","ttl":"1h"}'})
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert asked["system"] == [{"text": "be brief"}, point]
    assert asked["messages"] == [{"role": "user", "content": [{"text": "hi"}, point]}]


# ---- tools ----------------------------------------------------------------------------------------------------------


def test_tools_have_a_schema_even_without_parameters() -> None:
    assert body(tools=(F, G))["toolConfig"] == {
        "tools": [
            {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
            {
                "toolSpec": {
                    "name": "g",
                    "description": "does g",
                    "inputSchema": {"json": {"type": "object"}},
                    "strict": True,
                }
            },
        ]
    }


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (ToolChoice("auto"), {"auto": {}}),
        (ToolChoice("required"), {"any": {}}),
        (ToolChoice("required", "named", ("g",)), {"tool": {"name": "g"}}),
    ],
)
def test_a_choice_of_tools_is_told(choice: ToolChoice, told: dict[str, Any]) -> None:
    assert body(tools=(F, G), tool_choice=choice)["toolConfig"]["toolChoice"] == told


def test_only_the_tools_of_a_choice_are_offered() -> None:
    config = body(tools=(F, G), tool_choice=ToolChoice("required", "allowed", ("g",)))["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["g"]
    assert config["toolChoice"] == {"any": {}}


def test_no_tools_are_offered_where_none_may_be_called_and_none_was() -> None:
    assert "toolConfig" not in body(tools=(F,), tool_choice=ToolChoice("none"))
    assert refused(*CALLED, tools=(F,), tool_choice=ToolChoice("none")).param == "tool_choice"


# ---- the conversation -----------------------------------------------------------------------------------------------


def test_what_follows_each_other_in_one_role_is_one_message() -> None:
    asked = body(
        Message("system", (Text("be brief"),)),
        Message("developer", (Text("be kind"),)),
        HI,
        Message("assistant", (Text("let me see"),)),
        ToolCall("c1", "f", '{"a":1}'),
        ToolCall("c2", "g", ""),
        ToolResult("c1", (Text("1"), Image(PNG))),
        ToolResult("c2", ()),
        HI,
        Message("system", (Text("be quick"),)),
    )
    assert asked["system"] == [{"text": "be brief"}, {"text": "be kind"}]
    assert [(message["role"], [next(iter(block)) for block in message["content"]]) for message in asked["messages"]] == [
        ("user", ["text"]),
        ("assistant", ["text", "toolUse", "toolUse"]),
        ("user", ["toolResult", "toolResult", "text"]),
        ("system", ["text"]),
    ]
    results = asked["messages"][2]["content"]
    assert results[0]["toolResult"]["content"] == [{"text": "1"}, {"image": {"format": "png", "source": {"bytes": "AA=="}}}]
    assert results[1]["toolResult"]["content"] == []


def test_its_own_reasoning_goes_back_as_it_came_and_that_of_others_does_not() -> None:
    asked = body(
        HI,
        Reasoning("so it is", encrypted=seal("bedrock", "signature", "sig:==")),
        Reasoning(encrypted=seal("bedrock", "redacted", "AAAA")),
        Reasoning("thought elsewhere", encrypted=seal("anthropic", "signature", "x")),
        Reasoning(encrypted=seal("gemini", "thought", "x")),
        Reasoning("unsigned"),
        Message("assistant", (Text("yes"), Refusal("no"), Text(""))),
    )
    assert asked["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "so it is", "signature": "sig:=="}}},
        {"reasoningContent": {"redactedContent": "AAAA"}},
        {"text": "yes"},
        {"text": "no"},
    ]
    assert refused(Reasoning(encrypted="gAAAA", param="input[2]")).param == "input[2].encrypted_content"


def test_images_documents_and_sounds_are_sent_inline() -> None:
    pdf = "data:application/pdf;base64,AA=="
    assert content(
        Text("look"),
        Image("data:image/jpg;base64,AA=="),
        File(pdf, "Q3/report_final  (v2).pdf"),
        File(pdf, "Q3/report_final  (v2).pdf"),
        File("AA==", "notes.md"),
        File("data:text/csv;charset=utf-8;base64,AA=="),
        Audio("AA==", "wav"),
    ) == [
        {"text": "look"},
        {"image": {"format": "jpeg", "source": {"bytes": "AA=="}}},
        {"document": {"format": "pdf", "name": "Q3 report final (v2)", "source": {"bytes": "AA=="}}},
        {"document": {"format": "pdf", "name": "Q3 report final (v2) (2)", "source": {"bytes": "AA=="}}},
        {"document": {"format": "md", "name": "notes", "source": {"bytes": "AA=="}}},
        {"document": {"format": "csv", "name": "document", "source": {"bytes": "AA=="}}},
        {"audio": {"format": "wav", "source": {"bytes": "AA=="}}},
    ]


@pytest.mark.parametrize(
    "part",
    [
        Image("https://example.com/a.png"),
        Image("s3://bucket/a.png"),
        Image(PNG, file_id="file-1"),
        Image("data:image/bmp;base64,AA=="),
        Image("data:image/png;base64,not base64"),
        File(url="https://example.com/a.pdf"),
        File(file_id="file-1"),
        File("AA==", "a.exe"),
        Audio("?", "wav"),
    ],
)
def test_other_parts_are_refused_where_they_stand(part: Any) -> None:
    error = refused(Message("user", (Text("look"), part), param="messages[4]"))
    assert error.param == "messages[4].content[1]"


@pytest.mark.parametrize(
    ("entry", "param"),
    [
        (Message("user", (Text("hi"),), name="Ann", param="messages[1]"), "messages[1].name"),
        (ToolCall("c", "f", "[1]", param="input[1]"), "input[1]"),
        (ToolCall("c", "f", "{", param="input[1]"), "input[1]"),
        (ToolCall("c", "grep", "x", "custom", param="input[1]"), "input[1]"),
        (ToolResult("c", (Text("x"),), "custom", param="input[1]"), "input[1]"),
        (ToolResult("c", (Audio("AA==", "wav"),), param="input[1]"), "input[1]"),
        (ToolResult("c", (Image("https://example.com/a.png"),), param="input[1]"), "input[1]"),
    ],
)
def test_entries_that_converse_cannot_have_are_refused_by_their_place(entry: Entry, param: str) -> None:
    assert refused(HI, entry).param == param
