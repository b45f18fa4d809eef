"""A Responses request as a turn, and what of it no turn can say."""

from typing import Any

import orjson
import pytest

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model.v1.response_item_pb2 import ResponseInput
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
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
from trivet.model_service.faces.responses_request import parse

FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
CUSTOM = {"type": "custom", "name": "c"}


def turn(**request: Any) -> TurnRequest:
    asked = {"model": "lab/fast", "input": "hi"} | request
    return parse(codec_for(CreateResponseRequest).decode(asked, strict=True), "fast", stream=False)


def entry(**item: Any) -> Any:
    (found,) = turn(input=[item]).conversation
    return found


def test_a_text_is_a_user_message_after_the_instructions() -> None:
    assert turn(instructions="Be brief.").conversation == (
        Message("system", (Text("Be brief."),), param="instructions"),
        Message("user", (Text("hi"),), param="input"),
    )


def test_the_upstream_s_model_and_the_stream_are_the_caller_s_of_parse() -> None:
    request = CreateResponseRequest(model="lab/fast", stream=False, input=ResponseInput(text="hi"))

    found = parse(request, "fast", stream=True)

    assert (found.model, found.stream) == ("fast", True)


@pytest.mark.parametrize("role", ["user", "assistant", "system", "developer"])
def test_a_message_may_leave_its_type_out(role: str) -> None:
    assert entry(role=role, content="x") == Message(role, (Text("x"),), param="input[0]")  # type: ignore[arg-type]


def test_every_part_that_a_turn_has_is_read() -> None:
    parts = [
        {"type": "input_text", "text": "a"},
        {"type": "output_text", "text": "b", "annotations": []},
        {"type": "refusal", "refusal": "no"},
        {"type": "input_image", "image_url": "https://a.example/i", "detail": "low"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "file_data": "data:x", "filename": "x.pdf"},
        {"type": "input_file", "file_url": "https://a.example/f"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]

    assert entry(role="user", content=parts).parts == (
        Text("a"),
        Text("b"),
        Refusal("no"),
        Image("https://a.example/i", "low"),
        Image(file_id="file_1"),
        File("data:x", "x.pdf"),
        File(url="https://a.example/f"),
        Audio("AA==", "wav"),
    )


def test_calls_and_their_outputs_are_read() -> None:
    items = [
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}", "status": "completed", "id": "fc_1"},
        {"type": "function_call_output", "call_id": "1", "output": "42"},
        {"type": "custom_tool_call", "call_id": "2", "name": "c", "input": "go"},
        {"type": "custom_tool_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "function_call", "call_id": "3", "name": "f", "namespace": "ns", "arguments": "{}"},
    ]

    assert turn(input=items).conversation == (
        ToolCall("1", "f", "{}", "function", "input[0]"),
        ToolResult("1", (Text("42"),), "function", "input[1]"),
        ToolCall("2", "c", "go", "custom", "input[2]"),
        ToolResult("2", (Text("done"),), "custom", "input[3]"),
        ToolCall("3", "ns__f", "{}", "function", "input[4]"),
    )


def test_reasoning_is_handed_back() -> None:
    found = entry(
        type="reasoning",
        id="rs_1",
        summary=[{"type": "summary_text", "text": "s"}],
        content=[{"type": "reasoning_text", "text": "t"}],
        encrypted_content="enc",
    )

    assert found == Reasoning("t", ("s",), "enc", "rs_1", "input[0]")


def test_plain_parameters_are_read() -> None:
    found = turn(
        parallel_tool_calls=False, max_output_tokens=9, temperature=0, top_p=0.5, frequency_penalty=1, presence_penalty=-1,
        reasoning={"effort": "low", "summary": "auto"}, service_tier="flex", user="u", safety_identifier="s",
        prompt_cache_key="p", text={"verbosity": "low"},
    )  # fmt: skip

    assert found == TurnRequest(
        "fast", found.conversation, parallel_tool_calls=False, max_output_tokens=9, temperature=0.0, top_p=0.5,
        frequency_penalty=1.0, presence_penalty=-1.0, reasoning_effort="low", reasoning_summary="auto", service_tier="flex",
        user="u", safety_identifier="s", prompt_cache_key="p", verbosity="low",
    )  # fmt: skip


def test_what_is_null_was_not_given() -> None:
    nothing = dict.fromkeys(("temperature", "tools", "metadata", "text", "previous_response_id", "whatever"))

    assert turn(**nothing) == turn()


def test_what_is_no_matter_of_the_model_changes_nothing() -> None:
    others: dict[str, Any] = {
        "metadata": {"k": "v"}, "store": True, "truncation": "disabled", "background": False, "max_tool_calls": 3,
        "include": ["reasoning.encrypted_content"], "stream_options": {"include_obfuscation": False}, "top_logprobs": 3,
        "reasoning": {"context": "auto", "mode": "standard"},
    }  # fmt: skip

    assert turn(**others) == turn()


def test_what_a_model_made_may_carry_unknown_keys_and_null_asks_for_nothing() -> None:
    said = [{"role": "assistant", "content": "x", "end_turn": True}, {"role": "user", "content": "y", "novel": None}]

    assert turn(input=said).conversation == turn(input=[{"role": "assistant", "content": "x"}, said[1]]).conversation


def test_logprobs_are_asked_for_by_include() -> None:
    found = turn(include=["message.output_text.logprobs"], top_logprobs=3)

    assert (found.logprobs, found.top_logprobs) == (True, 3)


def test_unknown_parameters_pass_as_they_are() -> None:
    found = turn(top_k=5, client_metadata={"a": [1]}, prompt_cache_retention="24h")

    assert found.extra == {"top_k": "5", "client_metadata": '{"a":[1]}', "prompt_cache_retention": '"24h"'}


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ({"type": "text"}, TextFormat("text")),
        ({"type": "json_object"}, TextFormat("json_object")),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"},
            TextFormat("json_schema", "n", "d", '{"type":"object"}', True),
        ),
    ],
)
def test_every_form_of_text_is_read(form: dict[str, Any], read: TextFormat) -> None:
    assert turn(text={"format": form}).text_format == read


def test_tools_of_the_caller_are_read_those_in_namespaces_too() -> None:
    g = {"type": "function", "name": "g", "description": "G."}
    grammar = {"type": "grammar", "definition": "start: X", "syntax": "lark"}
    space = {"type": "namespace", "name": "ns", "description": "d", "tools": [g, CUSTOM]}

    found = turn(tools=[FUNCTION, CUSTOM | {"format": grammar}, space]).tools

    assert found[0] == FunctionTool("f", "d", '{"type":"object"}', strict=True)
    assert isinstance(found[1], CustomTool)
    assert orjson.loads(found[1].format) == {"type": "grammar", "grammar": {"definition": "start: X", "syntax": "lark"}}
    assert found[2:] == (FunctionTool("ns__g", "d\n\nG."), CustomTool("ns__c", "d"))


@pytest.mark.parametrize("kind", ["web_search", "image_generation", "local_shell", "apply_patch", "tool_search", "novel"])
def test_a_tool_that_agents_offer_to_any_model_is_left_out(kind: str) -> None:
    assert turn(tools=[{"type": kind}, FUNCTION]) == turn(tools=[FUNCTION])


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "mcp", "server_label": "s", "server_url": "https://a.example"},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "code_interpreter", "container": "c"},
        {"type": "computer"},
    ],
)
def test_a_tool_that_the_request_is_about_is_refused_by_name(tool: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        turn(tools=[FUNCTION, tool])

    assert refused.value.param == "tools[1]"


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("none", ToolChoice("none")),
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("required", "named", ("f",))),
        ({"type": "custom", "name": "c"}, ToolChoice("required", "named", ("c",), "custom")),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]},
            ToolChoice("required", "allowed", ("f",)),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "c"}]},
            ToolChoice("auto", "allowed", ("c",), "custom"),
        ),
    ],
)
def test_every_choice_of_tools_is_read(choice: Any, read: ToolChoice) -> None:
    assert turn(tools=[FUNCTION, CUSTOM], tool_choice=choice).tool_choice == read


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"background_options": {}}, "background_options"),
        ({"prompt_cache_options": {"mode": "explicit"}}, "prompt_cache_options"),
        ({"access_programs": {"cyber": "standard"}}, "access_programs"),
        ({"image": {"context_compression": "auto"}}, "image"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"text": {"format": {"type": "novel"}}}, "text.format"),
        ({"tool_choice": {"type": "web_search"}, "tools": [{"type": "web_search"}]}, "tool_choice"),
        ({"tool_choice": {"type": "mcp", "server_label": "s"}}, "tool_choice"),
        ({"tool_choice": "required", "tools": [{"type": "web_search"}]}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [{"type": "web_search"}]}}, "tool_choice"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": "x"}, {"type": "compaction", "encrypted_content": "e"}]}, "input[1]"),
        ({"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]}, "input[0]"),
        ({"input": [{"type": "novel"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_video", "video_url": "u"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "novel"}]}]}, "input[0].content[0]"),
        ({"tools": [{"type": "function", "name": "f", "allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
        (
            {"tools": [{"type": "namespace", "name": "a", "tools": [{"type": "namespace", "name": "b", "tools": [CUSTOM]}]}]},
            "tools[0].tools[0]",
        ),
        ({"reasoning": {"effort": "low", "budget": 5}}, "reasoning.budget"),
        ({"input": [{"role": "user", "content": "x", "cache_control": {"a": 1}}]}, "input[0].cache_control"),
    ],
)
def test_what_a_turn_cannot_say_is_refused_by_name(request_: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        turn(**request_)

    assert refused.value.param == param


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"input": []}, "input"),
        ({"truncation": "some"}, "truncation"),
        ({"tool_choice": "often"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]}}, "tool_choice.tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}]}, "tools[0].tools[0].name"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"type": "function_call", "call_id": "1"}]}, "input[0].name"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "1"}]}, "input[0].output"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "reasoning", "summary": [{"type": "refusal", "refusal": "x"}]}]}, "input[0].summary[0]"),
    ],
)
def test_what_the_contract_does_not_allow_is_refused_by_name(request_: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        turn(**request_)

    assert (refused.value.reason, refused.value.param) == ("INVALID_REQUEST", param)
