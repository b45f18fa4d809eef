"""A turn as the body of a generateContent request."""

import json
from typing import Any

import orjson
import pytest

from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model_service.adapters.gemini_request import gemini_body
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

OLD, NEW = "gemini-2.5-flash", "gemini-3-pro"
HI = Message("user", (Text("hi"),), param="input[0]")
SCHEMA = '{"type":"object"}'
F, G = FunctionTool("f", "d", SCHEMA), FunctionTool("g")
CALL, RESULT = ToolCall("call_1", "f", '{"a":1}', param="input[1]"), ToolResult("call_1", (Text("21C"),), param="input[2]")
UNSIGNED = "skip_thought_signature_validator"


def body(*entries: Entry, model: str = OLD, **request: Any) -> Any:
    return orjson.loads(orjson.dumps(gemini_body(TurnRequest(model, entries or (HI,), **request))))


def contents(*entries: Entry, model: str = OLD) -> Any:
    return body(*entries, model=model)["contents"]


def part(given: Part, param: str = "messages[0]") -> Any:
    [content] = contents(Message("user", (given,), param=param))
    return content["parts"][0]


def refused(*entries: Entry, model: str = OLD, **request: Any) -> str:
    with pytest.raises((UnsupportedParameter, InvalidRequest)) as caught:
        body(*entries, model=model, **request)
    return caught.value.param


def test_a_plain_turn_is_its_contents() -> None:
    assert body() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


# ---- the conversation ----------------------------------------------------------------------------------------------


def test_instructions_at_the_beginning_are_the_system_s_and_later_ones_stay_where_they_are() -> None:
    found = body(Message("system", (Text("a"),)), Message("developer", (Text("b"),)), HI, Message("developer", (Text("c"),)))
    assert found["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert found["contents"] == [{"role": "user", "parts": [{"text": "hi"}, {"text": "<system>\nc\n</system>"}]}]


def test_what_one_side_said_in_a_row_is_one_content() -> None:
    said = Message("assistant", (Text("yes"), Refusal("no"), Text("")))
    assert contents(HI, said, CALL, RESULT, HI) == [
        {"role": "user", "parts": [{"text": "hi"}]},
        {
            "role": "model",
            "parts": [{"text": "yes"}, {"text": "no"}, {"functionCall": {"name": "f", "args": {"a": 1}}}],
        },
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "21C"}}}]},
        {"role": "user", "parts": [{"text": "hi"}]},
    ]


def test_results_of_parallel_calls_are_one_content_by_the_names_of_their_calls() -> None:
    calls = ToolCall("x1", "f", ""), ToolCall("call_2", "g", "{}")
    found = contents(HI, *calls, ToolResult("call_2", (Text("b"),)), ToolResult("x1", (Text("a"), Text("c"))))
    assert found[1]["parts"] == [
        {"functionCall": {"id": "x1", "name": "f", "args": {}}},
        {"functionCall": {"name": "g", "args": {}}},
    ]
    assert found[2]["parts"] == [
        {"functionResponse": {"name": "g", "response": {"output": "b"}}},
        {"functionResponse": {"id": "x1", "name": "f", "response": {"output": "ac"}}},
    ]


def test_the_input_of_a_custom_tool_is_a_parameter() -> None:
    found = contents(HI, ToolCall("call_1", "c", "free text", "custom"))
    assert found[1]["parts"] == [{"functionCall": {"name": "c", "args": {"input": "free text"}}}]


@pytest.mark.parametrize("wrong", ["{", "[]"])
def test_arguments_that_a_model_got_wrong_are_told_as_such(wrong: str) -> None:
    [call] = contents(HI, ToolCall("call_1", "f", wrong))[1]["parts"]
    assert call["functionCall"]["args"] == {"INVALID_JSON": wrong}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (Image("data:image/png;base64,AAAA"), {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        (Image("https://x.org/a.jpg?w=1"), {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.org/a.jpg?w=1"}}),
        (Image("https://x.org/a"), {"fileData": {"fileUri": "https://x.org/a"}}),
        (
            Image(file_id="files/abc-1"),
            {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc-1"}},
        ),
        (Audio("AAAA", "wav"), {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}),
        (File("data:video/mp4;codecs=x;base64,AAAA"), {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}),
        (File("AAAA", "a.pdf"), {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}),
        (File(url="https://x.org/a.pdf"), {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.org/a.pdf"}}),
    ],
)
def test_images_sounds_and_files_are_sent(given: Part, sent: Any) -> None:
    assert part(given) == sent


@pytest.mark.parametrize(
    "given",
    [
        Image(),
        Image("https://x.org/a.png", file_id="files/a"),
        Image(file_id="file-123"),
        Image(file_id="files/../x"),
        Image("data:image/png,%00"),
        Image("data:;base64,AAAA"),
        File("AAAA"),
        File("AAAA", "novel"),
    ],
)
def test_an_image_or_a_file_that_cannot_be_sent_is_named(given: Part) -> None:
    assert refused(Message("user", (Text("see"), given), param="messages[3]")) == "messages[3].content[1]"


def test_tools_return_images_inline() -> None:
    result = ToolResult("call_1", (Text("see"), Image("data:image/png;base64,AAAA")), param="input[2]")
    response = contents(HI, CALL, result)[2]["parts"][0]["functionResponse"]
    assert response == {
        "name": "f",
        "response": {"output": "see"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
    }
    assert refused(HI, CALL, ToolResult("call_1", (Image("https://x.org/a.png"),), param="input[2]")) == "input[2]"


@pytest.mark.parametrize(
    ("entry", "param"),
    [
        (Message("user", (Text("hi"),), "ann", "messages[1]"), "messages[1].name"),
        (Message("system", (Image("https://x.org/a"),), param="messages[1]"), "messages[1].content[0]"),
        (ToolResult("call_1", (Text("?"),), param="messages[1]"), "messages[1]"),
    ],
)
def test_an_entry_that_cannot_be_said_is_named(entry: Entry, param: str) -> None:
    assert refused(HI, entry) == param


# ---- signatures ----------------------------------------------------------------------------------------------------


def signature(kind: str, payload: str = "S") -> Reasoning:
    return Reasoning(encrypted=seal("gemini", kind, payload))


def signatures(*entries: Entry, model: str = NEW) -> list[Any]:
    """The parts of the model's first content: what each is, and its signature."""
    parts = next(content["parts"] for content in contents(HI, *entries, model=model) if content["role"] == "model")
    return [(part.get("text", "call"), part.get("thoughtSignature")) for part in parts]


def test_a_signature_goes_back_with_the_first_call() -> None:
    assert signatures(signature("call"), CALL, ToolCall("call_2", "g", "{}")) == [("call", "S"), ("call", None)]


def test_a_signature_of_a_call_waits_for_it_behind_a_text() -> None:
    said = Message("assistant", (Text("well"),))
    assert signatures(signature("call"), said, CALL) == [("well", None), ("call", "S")]


def test_a_signature_of_a_text_goes_with_the_text_or_after_it() -> None:
    said = Message("assistant", (Text("well"), Text("now")))
    assert signatures(signature("text"), said) == [("well", "S"), ("now", None)]
    assert signatures(said, signature("text"), HI) == [("well", None), ("now", None), ("", "S")]
    assert signatures(said, signature("text", "T"), signature("call"), CALL)[2:] == [("", "T"), ("call", "S")]


def test_a_signature_without_its_call_is_left_out() -> None:
    said = Message("assistant", (Text("well"),))
    assert signatures(said, signature("call"), HI, CALL) == [("well", None)]


@pytest.mark.parametrize("foreign", [seal("anthropic", "call", "S"), seal("gemini", "novel", "S"), "gAAAA", ""])
def test_reasoning_of_others_is_passed_over(foreign: str) -> None:
    others = Reasoning("thought", ("summary",), foreign)
    assert signatures(others, CALL, model=OLD) == [("call", None)]


def test_a_call_of_another_model_has_the_signature_that_google_gives() -> None:
    again = ToolCall("call_2", "g", "{}"), ToolResult("call_2", (Text(""),))
    found = contents(HI, CALL, again[0], RESULT, again[1], signature("call"), CALL, RESULT, CALL, model=NEW)
    given = [part.get("thoughtSignature") for content in found if content["role"] == "model" for part in content["parts"]]
    assert given == [UNSIGNED, None, "S", UNSIGNED]
    assert "thoughtSignature" not in json.dumps(contents(HI, CALL, model=OLD))


# ---- tools ---------------------------------------------------------------------------------------------------------


def test_tools_are_functions_with_their_schemas_as_they_are() -> None:
    declared = body(tools=(F, G, CustomTool("c", "free"), CustomTool("t", format='{"type":"text"}')))["tools"]
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    assert declared == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}},
                {"name": "g"},
                {"name": "c", "description": "free", "parametersJsonSchema": text},
                {"name": "t", "parametersJsonSchema": text},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "strict", "config"),
    [
        (None, False, None),
        (None, True, {"mode": "VALIDATED"}),
        (ToolChoice(), False, {"mode": "AUTO"}),
        (ToolChoice(), True, {"mode": "VALIDATED"}),
        (ToolChoice("none"), True, {"mode": "NONE"}),
        (ToolChoice("required"), False, {"mode": "ANY"}),
        (ToolChoice("required", "named", ("f",)), False, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice("required", "allowed", ("f", "g")), True, {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        (ToolChoice("auto", "allowed", ("f",)), False, {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_a_choice_of_tools_is_a_mode_and_names(choice: ToolChoice | None, strict: bool, config: Any) -> None:
    found = body(tools=(FunctionTool("f", strict=strict), G), tool_choice=choice)
    assert found.get("toolConfig") == (config and {"functionCallingConfig": config})


def test_without_tools_only_a_demand_for_one_is_said() -> None:
    assert "toolConfig" not in body(tool_choice=ToolChoice()) | body(tool_choice=ToolChoice("none"))
    assert body(tool_choice=ToolChoice("required"))["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert body(parallel_tool_calls=False) == body(parallel_tool_calls=True) == body()


# ---- parameters ----------------------------------------------------------------------------------------------------


def test_every_parameter_that_the_api_has_is_given() -> None:
    found = body(
        max_output_tokens=9, temperature=0.0, top_p=0.5, top_k=4, frequency_penalty=1.0, presence_penalty=-1.0, seed=7,
        stop=("a", "b"), top_logprobs=2, service_tier="flex",
    )  # fmt: skip
    assert found.pop("generationConfig") == {
        "maxOutputTokens": 9, "temperature": 0.0, "topP": 0.5, "topK": 4, "frequencyPenalty": 1.0, "presencePenalty": -1.0,
        "seed": 7, "stopSequences": ["a", "b"], "responseLogprobs": True, "logprobs": 2,
    }  # fmt: skip
    assert found == body() | {"serviceTier": "flex"}
    assert body(service_tier="default")["serviceTier"] == "standard"
    assert body(service_tier="auto", user="u", safety_identifier="s", prompt_cache_key="p", verbosity="medium") == body()
    assert body(logprobs=True)["generationConfig"] == {"responseLogprobs": True}


@pytest.mark.parametrize(
    ("wanted", "config"),
    [
        (TextFormat(), None),
        (TextFormat("json_object"), {"responseMimeType": "application/json"}),
        (
            TextFormat("json_schema", "city", "A city.", SCHEMA, strict=True),
            {
                "responseMimeType": "application/json",
                "responseJsonSchema": {"title": "city", "description": "A city.", "type": "object"},
            },
        ),
        (
            TextFormat("json_schema", "city", schema='{"title":"own"}'),
            {"responseMimeType": "application/json", "responseJsonSchema": {"title": "own"}},
        ),
        (
            TextFormat("json_schema", "any", schema="true"),
            {"responseMimeType": "application/json", "responseJsonSchema": True},
        ),
    ],
)
def test_a_form_of_the_answer_is_its_type_and_schema(wanted: TextFormat, config: Any) -> None:
    assert body(text_format=wanted).get("generationConfig") == config


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        (OLD, "none", {"thinkingBudget": 0}),
        (OLD, "high", {"thinkingBudget": 24576}),
        (NEW, "minimal", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-flash-lite", "medium", {"thinkingLevel": "MEDIUM"}),
        ("gemini-flash-latest", "low", {"thinkingLevel": "LOW"}),
    ],
)
def test_effort_is_a_budget_or_a_level(model: str, effort: str, thinking: Any) -> None:
    assert body(model=model, reasoning_effort=effort)["generationConfig"] == {"thinkingConfig": thinking}
    shown = body(model=model, reasoning_effort=effort, reasoning_summary="auto")["generationConfig"]["thinkingConfig"]
    assert shown == thinking | {"includeThoughts": True}


@pytest.mark.parametrize(
    ("request_fields", "param"),
    [
        ({"verbosity": "low"}, "verbosity"),
        ({"verbosity": "low", "names": {"verbosity": "text.verbosity"}}, "text.verbosity"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"parallel_tool_calls": False, "tools": (F,)}, "parallel_tool_calls"),
        ({"reasoning_summary": "detailed"}, "reasoning.summary"),
        ({"reasoning_effort": "xhigh"}, "reasoning_effort"),
        ({"reasoning_effort": "none", "model": NEW, "names": {"reasoning_effort": "reasoning.effort"}}, "reasoning.effort"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"tools": (HostedTool("web", "{}", "tools[1]"),)}, "tools[1]"),
        ({"tools": (CustomTool("c", format='{"type":"grammar"}', param="tools[0]"),)}, "tools[0]"),
        ({"tools": (F,), "tool_choice": ToolChoice(kind="hosted", hosted="{}")}, "tool_choice"),
        ({"extra": {"contents": "[]"}}, "contents"),
        ({"extra": {"store": "true"}}, "store"),
        ({"extra": {"prompt_cache_retention": '"24h"'}}, "prompt_cache_retention"),
        ({"extra": {"generationConfig": "1"}}, "generationConfig"),
        ({"extra": {"generationConfig": '{"candidateCount":2}'}}, "generationConfig.candidateCount"),
        ({"extra": {"generationConfig": '{"responseModalities":["AUDIO"]}'}}, "generationConfig.responseModalities"),
        ({"temperature": 1.0, "extra": {"generationConfig": '{"temperature":2}'}}, "generationConfig.temperature"),
    ],
)
def test_what_cannot_be_asked_for_is_named(request_fields: dict[str, Any], param: str) -> None:
    assert refused(**request_fields) == param


def test_tools_that_google_runs_are_asked_for_beside_functions() -> None:
    found = body(tools=(G,), extra={"googleSearch": "{}", "codeExecution": "{}"})
    assert found["tools"] == [{"functionDeclarations": [{"name": "g"}]}, {"googleSearch": {}}, {"codeExecution": {}}]
    assert body(extra={"urlContext": "{}"})["tools"] == [{"urlContext": {}}]


def test_parameters_of_its_own_are_passed_on() -> None:
    found = body(
        temperature=1.0,
        tools=(F,),
        tool_choice=ToolChoice(),
        extra={
            "store": "false",
            "safetySettings": "[]",
            "generationConfig": '{"mediaResolution":"MEDIA_RESOLUTION_LOW","candidateCount":1,"responseModalities":["TEXT"]}',
            "toolConfig": '{"retrievalConfig":{}}',
        },
    )
    assert found["safetySettings"] == []
    assert "store" not in found
    assert found["generationConfig"] == {
        "temperature": 1.0, "mediaResolution": "MEDIA_RESOLUTION_LOW", "candidateCount": 1, "responseModalities": ["TEXT"],
    }  # fmt: skip
    assert found["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}, "retrievalConfig": {}}
