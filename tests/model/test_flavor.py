"""Which words a chat provider is spoken to in, by its address or as configured; and what each flavor makes of a request."""

import re
from typing import Any, cast

import orjson
import pytest
from pydantic import ValidationError

from tests.model.every_field import plain, probes
from tests.model.test_every_field import (
    BY_THE_RPC,
    CHAT_NEEDED,
    CHAT_SAMPLES,
    checked,
    is_dropped,
    is_left_out,
    sent_by,
)
from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunk
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.chat_flavors import (
    AZURE,
    COMPATIBLE,
    DEEPSEEK,
    FLAVORS,
    GROQ,
    MISTRAL,
    OLLAMA,
    OPENAI,
    OPENROUTER,
    TOGETHER,
    VLLM,
    ChatFlavor,
    flavor_of,
)
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_chat_events import ChunkReader
from trivet.model_service.adapters.openai_chat_repair import ChunkRepair, repair_completion
from trivet.model_service.adapters.openai_chat_request import chat_body
from trivet.model_service.domain.turn import (
    FunctionTool,
    Message,
    Reasoning,
    ReasoningEnded,
    Refusal,
    Text,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolResult,
    TurnRequest,
)
from trivet.model_service.settings import ProviderSettings

HI = {"role": "user", "content": "hi"}
ANSWERED = {"role": "assistant", "content": "yes", "reasoning_content": "so it is"}
F, G = ({"type": "function", "function": {"name": name}} for name in ("f", "g"))
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("base_url", "given", "flavor"),
    [
        ("https://api.openai.com/v1", None, OPENAI),
        ("https://team.openai.azure.com/openai/v1", None, AZURE),
        ("https://team.cognitiveservices.azure.com", None, AZURE),
        ("https://team.services.ai.azure.com", None, AZURE),
        ("https://api.mistral.ai/v1", None, MISTRAL),
        ("https://api.groq.com/openai/v1", None, GROQ),
        ("https://api.together.xyz/v1", None, TOGETHER),
        ("https://api.together.ai/v1", None, TOGETHER),
        ("https://api.deepseek.com", None, DEEPSEEK),
        ("https://openrouter.ai/api/v1", None, OPENROUTER),
        ("http://127.0.0.1:8000/v1", None, COMPATIBLE),
        ("http://127.0.0.1:11434/v1", None, COMPATIBLE),
        ("https://api.openai.com.example.org/v1", None, COMPATIBLE),
        ("https://openai.azure.com.example.org/v1", None, COMPATIBLE),
        ("https://api.openai.com/v1", "compatible", COMPATIBLE),
        ("http://127.0.0.1:8000/v1", "openai", OPENAI),
        ("http://127.0.0.1:11434/v1", "ollama", OLLAMA),
        ("http://127.0.0.1:8000/v1", "vllm", VLLM),
    ],
)
def test_a_flavor_is_known_by_the_address_or_as_configured(base_url: str, given: str | None, flavor: ChatFlavor) -> None:
    settings = ProviderSettings.model_validate({"name": "p", "type": "openai-chat", "base_url": base_url, "flavor": given})
    assert flavor_of(settings.flavor, settings.base_url or "") is flavor


def test_a_flavor_or_a_version_that_the_type_has_not_is_refused() -> None:
    for type_, more in (
        ("openai-responses", {"flavor": "groq", "base_url": "https://h"}),
        ("local", {"flavor": "openai"}),
        ("local", {"api_version": "v"}),
    ):
        with pytest.raises(ValidationError, match="a provider of type"):
            ProviderSettings.model_validate({"name": "p", "type": type_, **more})


# ---- every way through ----------------------------------------------------------------------------------------------


def passed(flavor: ChatFlavor, **body: Any) -> dict[str, Any]:
    """What a server of this flavor is sent of a chat completions request, which passes through."""
    request = checked(CreateChatCompletionRequest, {"model": "a/m", "messages": [HI], **body})
    sent = sent_by(lambda http: OpenAIChat(http, flavor).create_chat_completion(request, "m"))
    return cast("dict[str, Any]", orjson.loads(orjson.dumps(sent)))


def turned(flavor: ChatFlavor, *conversation: Any, **more: Any) -> dict[str, Any]:
    """What it is sent of a turn."""
    said = conversation or (Message("user", (Text("hi"),)),)
    return cast("dict[str, Any]", orjson.loads(orjson.dumps(chat_body(TurnRequest("m", said, **more), flavor))))


@pytest.mark.parametrize("flavor", FLAVORS.values(), ids=FLAVORS)
def test_no_field_of_a_chat_request_is_dropped_in_silence_by_any_flavor(flavor: ChatFlavor) -> None:
    def way(asked: Any) -> Any:
        return passed(flavor, **asked)

    meaningless = {r"stream(_options.*)?": BY_THE_RPC}
    found = probes(
        CreateChatCompletionRequest.DESCRIPTOR, CHAT_NEEDED, CHAT_SAMPLES, lambda one: is_left_out(one, way, meaningless)
    )
    dropped = {plain(probe.path) for probe in found if is_dropped(probe, way)}

    listed = r"model|stream(_options.*)?|tool_choice\.allowed_tools\.tools\[0?\].*"
    if "parallel_tool_calls" in flavor.refused:
        listed += "|parallel_tool_calls"  # true is what happens anyway
    if not flavor.tool_choice:
        listed += "|tool_choice"  # among no tools, as the probe has it
    assert {path for path in dropped if not re.fullmatch(listed, path)} == set()


@pytest.mark.parametrize("flavor", FLAVORS.values(), ids=FLAVORS)
def test_the_limit_has_the_name_that_the_server_knows(flavor: ChatFlavor) -> None:
    assert passed(flavor, max_tokens=9)[flavor.limit_key] == 9
    assert passed(flavor, max_completion_tokens=9)[flavor.limit_key] == 9
    body = turned(flavor, max_output_tokens=9)
    assert {key: body[key] for key in body if key.startswith("max_")} == {flavor.limit_key: 9}


@pytest.mark.parametrize(("flavor", "name"), [(flavor, name) for flavor in FLAVORS.values() for name in flavor.refused])
def test_a_refused_parameter_is_named(flavor: ChatFlavor, name: str) -> None:
    values: dict[str, Any] = {
        "n": 2,
        "modalities": ["audio"],
        "parallel_tool_calls": False,
        "logprobs": True,
        "store": True,
        "metadata": {"a": "b"},
        "logit_bias": {"1": 1},
        "audio": {"voice": "a", "format": "wav"},
        "prediction": {"type": "content", "content": "x"},
        "web_search_options": {},
        "functions": [{"name": "f"}],
        "function_call": "auto",
        "top_k": 3,
        "top_logprobs": 2,
        "seed": 1,
    }
    with pytest.raises(UnsupportedParameter) as refused:
        passed(flavor, **{name: values.get(name, "low")})
    assert refused.value.param == name


def test_a_refused_parameter_may_ask_for_what_happens_anyway() -> None:
    harmless = {"n": 1, "logprobs": False, "store": False, "modalities": ["text"]}
    assert passed(GROQ, **harmless) == {"model": "m", "messages": [HI], "stream": False}
    assert "parallel_tool_calls" not in passed(OLLAMA, tools=[F], parallel_tool_calls=True)


def test_a_turn_is_refused_by_the_names_of_its_caller() -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        turned(GROQ, verbosity="low", names={"verbosity": "text.verbosity"})
    assert refused.value.param == "text.verbosity"
    with pytest.raises(UnsupportedParameter) as refused:
        turned(DEEPSEEK, text_format=TextFormat("json_schema", "n", schema="{}"), names={"text_format": "text.format"})
    assert refused.value.param == "text.format"


def test_deepseek_writes_json_but_follows_no_schema() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
    with pytest.raises(UnsupportedParameter) as refused:
        passed(DEEPSEEK, response_format=schema)
    assert refused.value.param == "response_format"
    assert passed(DEEPSEEK, response_format={"type": "json_object"})["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("flavor", [flavor for flavor in FLAVORS.values() if not flavor.allowed_tools], ids=lambda one: one.name)
def test_only_the_tools_of_a_choice_are_offered_where_some_cannot_be_chosen(flavor: ChatFlavor) -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [G]}}
    body = passed(flavor, tools=[F, G], tool_choice=allowed)
    assert body["tools"] == [G]
    assert body.get("tool_choice", "auto") == "auto"
    body = turned(flavor, tools=(FunctionTool("f"), FunctionTool("g")), tool_choice=ToolChoice("auto", "allowed", ("g",)))
    assert body["tools"] == [G]


def test_ollama_cannot_be_told_which_tools_to_call() -> None:
    for choice in ("required", F):
        with pytest.raises(UnsupportedParameter) as refused:
            passed(OLLAMA, tools=[F], tool_choice=choice)
        assert refused.value.param == "tool_choice"
    assert "tools" not in passed(OLLAMA, tools=[F], tool_choice="none")
    body = passed(OLLAMA, tools=[F], tool_choice="auto")
    assert body["tools"] == [F]
    assert "tool_choice" not in body


@pytest.mark.parametrize("flavor", [flavor for flavor in FLAVORS.values() if not flavor.custom_tools], ids=lambda one: one.name)
def test_custom_tools_are_refused_where_there_are_only_functions(flavor: ChatFlavor) -> None:
    with pytest.raises(UnsupportedParameter, match="`grep`") as refused:
        passed(flavor, tools=[F, {"type": "custom", "custom": {"name": "grep"}}])
    assert refused.value.param == "tools"


# ---- single habits --------------------------------------------------------------------------------------------------


def test_mistral_has_its_own_name_for_the_seed_and_no_stream_options() -> None:
    body = turned(MISTRAL, seed=7, stream=True)
    assert body["random_seed"] == 7
    assert "seed" not in body
    assert "stream_options" not in body
    with pytest.raises(UnsupportedParameter) as refused:
        passed(MISTRAL, seed=7, random_seed=8)
    assert refused.value.param == "seed"


def test_mistral_is_given_ids_of_calls_that_it_takes() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    body = passed(MISTRAL, messages=[HI, called, {"role": "tool", "tool_call_id": "call_1", "content": "1"}])
    short = body["messages"][1]["tool_calls"][0]["id"]
    assert len(short) == 9
    assert short.isalnum()
    assert body["messages"][2]["tool_call_id"] == short
    turn = turned(MISTRAL, ToolCall("call_1", "f", "{}"), ToolResult("call_1", (Text("1"),)))
    assert turn["messages"][1]["tool_call_id"] == short
    kept = turned(MISTRAL, ToolCall("abcABC123", "f", "{}"), ToolResult("abcABC123", (Text("1"),)))
    assert kept["messages"][1]["tool_call_id"] == "abcABC123"


def test_mistral_has_what_was_thought_and_refused_in_the_content() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "so it is"}]}
    said = {"type": "text", "text": "yes"}
    assert passed(MISTRAL, messages=[HI, ANSWERED, HI])["messages"][1] == {"role": "assistant", "content": [thinking, said]}
    refused = Message("assistant", (Refusal("no"),))
    assert turned(MISTRAL, Reasoning("so it is"), refused)["messages"] == [
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "no"}]}
    ]


def test_what_mistral_answers_in_parts_is_one_text_and_one_reasoning() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}, {"type": "text", "text": "yes"}]
    chunk = {"choices": [{"delta": {"content": parts}}]}
    ChunkRepair().repair(chunk)
    whole = {"choices": [{"message": {"role": "assistant", "content": parts}}]}
    repair_completion(whole)
    for said in (chunk["choices"][0]["delta"], whole["choices"][0]["message"]):
        assert said == {"role": "assistant", "content": "yes", "reasoning_content": "so"}


@pytest.mark.parametrize("flavor", [OLLAMA, GROQ, OPENROUTER], ids=lambda one: one.name)
def test_reasoning_goes_back_under_the_name_that_the_server_has_for_it(flavor: ChatFlavor) -> None:
    told = {"role": "assistant", "content": "yes", "reasoning": "so it is"}
    assert passed(flavor, messages=[HI, ANSWERED, HI])["messages"][1] == told


def test_deepseek_gets_back_what_it_thought_before_a_call() -> None:
    body = turned(DEEPSEEK, Reasoning("so it is"), ToolCall("c", "f", "{}"), ToolResult("c", (Text("1"),)))
    assert body["messages"][0]["reasoning_content"] == "so it is"


@pytest.mark.parametrize("flavor", [MISTRAL, GROQ], ids=lambda one: one.name)
def test_names_of_who_speaks_are_refused_where_messages_have_none(flavor: ChatFlavor) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        passed(flavor, messages=[HI, {**HI, "name": "Ann"}])
    assert refused.value.param == "messages[1].name"


def test_vllm_is_guided_by_the_names_of_today() -> None:
    assert passed(VLLM, guided_choice=["a", "b"])["structured_outputs"] == {"choice": ["a", "b"]}
    assert passed(VLLM, min_p=0.1, top_k=4)["min_p"] == 0.1


def test_what_openrouter_wants_back_passes_through() -> None:
    details = [{"type": "reasoning.encrypted", "data": "x"}]
    body = passed(OPENROUTER, messages=[HI, {**ANSWERED, "reasoning_details": details}, HI], reasoning={"effort": "low"})
    assert body["messages"][1]["reasoning_details"] == details
    assert body["reasoning"] == {"effort": "low"}


def test_the_details_of_openrouters_reasoning_are_sealed_and_go_back_in_a_turn() -> None:
    pieces = [
        {"reasoning": "so ", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "so "}]},
        {"reasoning": "it is", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "it is"}]},
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "sig=="}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "x:y"}]},
        {"content": "yes"},
    ]
    reader = ChunkReader()
    chunks = [codec_for(ChatCompletionChunk).decode({"choices": [{"index": 0, "delta": piece}]}) for piece in pieces]
    events = [event for chunk in chunks for event in reader.read({}, chunk)]
    [ended] = [event for event in events if isinstance(event, ReasoningEnded)]
    thought = Reasoning("so it is", encrypted=ended.encrypted)

    [message] = turned(OPENROUTER, thought, Message("assistant", (Text("yes"),)))["messages"]
    assert message["reasoning"] == "so it is"
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "index": 0, "text": "so it is", "signature": "sig=="},
        {"type": "reasoning.encrypted", "index": 1, "data": "x:y"},
    ]
    [elsewhere] = turned(COMPATIBLE, thought, Message("assistant", (Text("yes"),)))["messages"]
    assert elsewhere == {"role": "assistant", "content": "yes", "reasoning_content": "so it is"}
    foreign = Reasoning("so it is", encrypted="trivet:openrouter:details:{")
    assert "reasoning_details" not in turned(OPENROUTER, foreign)["messages"][0]
    assert turned(OPENROUTER, Reasoning(encrypted="trivet:bedrock:redacted:x"))["messages"] == []


def test_the_developer_is_the_system_where_there_is_no_such_role() -> None:
    for flavor in FLAVORS.values():
        [message] = passed(flavor, messages=[{"role": "developer", "content": "be brief"}])["messages"]
        assert message["role"] == ("developer" if flavor in (OPENAI, AZURE, OPENROUTER) else "system")
