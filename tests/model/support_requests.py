"""What each provider type can be asked for on each face: features of requests, and the proof that each reaches the upstream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.model.every_field import canonical
from tests.model.test_every_field import (
    chat_over_chat,
    checked,
    responses_over_responses,
)
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.errors import ServiceError
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.anthropic_request import messages_body
from trivet.model_service.adapters.bedrock_request import converse_body
from trivet.model_service.adapters.chat_flavors import COMPATIBLE, OPENAI
from trivet.model_service.adapters.gemini_request import gemini_body
from trivet.model_service.adapters.openai_chat_request import chat_body
from trivet.model_service.adapters.openai_responses_request import responses_body
from trivet.model_service.domain.seals import seal
from trivet.model_service.domain.turn import TurnRequest
from trivet.model_service.faces.chat_request import parse_chat
from trivet.model_service.faces.responses_request import parse as parse_response

Json = dict[str, Any]
Body = Callable[[TurnRequest], Any]

YES = "yes"
NO_WORD = "-"
"""The face has no word for it."""
NO_EFFECT = "no effect"
"""Taken, and without effect there: docs/dialects.md says why."""

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJSVFT0YK"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
QUESTION = {"role": "user", "content": "hi"}

SEAL = "SEAL"
"""Stands for what each provider wants back of its reasoning."""

CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
OTHER_CHAT_TOOL = {"type": "function", "function": {"name": "get_time", "parameters": SCHEMA}}
CHAT_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
TOOL = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
OTHER_TOOL = {"type": "function", "name": "get_time", "parameters": SCHEMA, "strict": False}
CALL = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city":"Paris"}'}


@dataclass(frozen=True)
class Feature:
    """Something to ask for, in the words of both faces; None: that face has none.

    `marks` must stand in what is sent to the upstream (as JSON text), one of each tuple; without any, it must differ from what is
    sent when it is not asked for. `stands_on` is asked for besides, in both.
    """

    name: str
    chat: Mapping[str, Any] | None
    responses: Mapping[str, Any] | None
    marks: tuple[str, ...] = ()
    chat_base: Mapping[str, Any] = field(default_factory=dict)
    responses_base: Mapping[str, Any] = field(default_factory=dict)


def said(*parts: Json) -> Json:
    """A message of the user with these parts, in either face's words."""
    return {"role": "user", "content": list(parts)}


def asks(chat_parts: list[Json] | None, parts: list[Json] | None) -> tuple[Json | None, Json | None]:
    """A question with these parts on both faces."""
    return (
        None if chat_parts is None else {"messages": [said(*chat_parts)]},
        None if parts is None else {"input": [said(*parts)]},
    )


def alike(name: str, value: Any, mark: str = "") -> Feature:
    """A parameter of the same name on both faces."""
    return Feature(name, {name: value}, {name: value}, (mark,) if mark else ())


def _media() -> list[Feature]:
    def feature(name: str, chat: Json | None, responses: Json | None, *marks: str) -> Feature:
        return Feature(name, *asks([chat] if chat else None, [responses] if responses else None), marks)

    at = "https://example.com/cat.png"
    inline = f"data:image/png;base64,{PNG}"
    pdf = f"data:application/pdf;base64,{PDF}"
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    return [
        feature(
            "image by URL", {"type": "image_url", "image_url": {"url": at}}, {"type": "input_image", "image_url": at}, "cat.png"
        ),
        feature(
            "image inline", {"type": "image_url", "image_url": {"url": inline}}, {"type": "input_image", "image_url": inline}, PNG
        ),
        feature("image by id of a file", None, {"type": "input_image", "file_id": "file-77"}, "file-77"),
        feature(
            "file inline",
            {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
            {"type": "input_file", "filename": "a.pdf", "file_data": pdf},
            PDF,
        ),
        feature("file by URL", None, {"type": "input_file", "file_url": "https://example.com/a.pdf"}, "example.com/a.pdf"),
        feature(
            "file by id",
            {"type": "file", "file": {"file_id": "file-77"}},
            {"type": "input_file", "file_id": "file-77"},
            "file-77",
        ),
        feature("audio input", sound, sound, "UklGRg=="),
    ]


def _tools() -> list[Feature]:
    chat, responses = {"tools": [CHAT_TOOL, OTHER_CHAT_TOOL]}, {"tools": [TOOL, OTHER_TOOL]}

    def choice(name: str, chat_choice: Any, choice: Any, *marks: str) -> Feature:
        return Feature(name, {"tool_choice": chat_choice}, {"tool_choice": choice}, marks, chat, responses)

    chat_named = {"type": "function", "function": {"name": "get_weather"}}
    named = {"type": "function", "name": "get_weather"}
    custom = {"name": "shell", "description": "runs what it is given"}
    chat_history = [QUESTION, {"role": "assistant", "tool_calls": [CHAT_CALL]}]
    result = {"type": "function_call_output", "call_id": "call_1"}
    return [
        Feature("function tools", chat, responses, ("get_weather", '"city"')),
        Feature(
            "tool calls and results",
            chat | {"messages": [*chat_history, {"role": "tool", "tool_call_id": "call_1", "content": "21C"}]},
            responses | {"input": [QUESTION, CALL, result | {"output": "21C"}]},
            ("21C", "Paris"),
        ),
        Feature(
            "images as results of tools",
            None,
            responses
            | {
                "input": [
                    QUESTION,
                    CALL,
                    result | {"output": [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]},
                ]
            },
            (PNG,),
        ),
        Feature(
            "custom tools",
            {"tools": [{"type": "custom", "custom": custom}]},
            {"tools": [{"type": "custom"} | custom]},
            ("shell",),
        ),
        choice("tool_choice: required", "required", "required"),
        choice("tool_choice: none", "none", "none"),
        choice("tool_choice: one tool", chat_named, named, "get_weather"),
        choice(
            "tool_choice: some tools",
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [chat_named]}},
            {"type": "allowed_tools", "mode": "auto", "tools": [named]},
            "get_weather",
        ),
        Feature("one call at a time", {"parallel_tool_calls": False}, {"parallel_tool_calls": False}, (), chat, responses),
    ]


def _forms() -> list[Feature]:
    schema = {"name": "weather", "schema": SCHEMA, "strict": True}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hmm, 42."}]}
    answer = {"role": "assistant", "content": "So."}
    detail = {"type": "reasoning.text", "text": "Hmm, 42.", "signature": SEAL}
    return [
        Feature("json_object", {"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
        Feature(
            "json_schema",
            {"response_format": {"type": "json_schema", "json_schema": schema}},
            {"text": {"format": {"type": "json_schema"} | schema}},
            ("city",),
        ),
        Feature("reasoning effort", {"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}),
        Feature("reasoning summary: detailed", None, {"reasoning": {"effort": "high", "summary": "detailed"}}),
        Feature(
            "reasoning of earlier turns, as text",
            {"messages": [QUESTION, answer | {"reasoning_content": "Hmm, 42."}, QUESTION]},
            {"input": [QUESTION, thought, answer, QUESTION]},
            ("Hmm, 42.",),
        ),
        Feature(
            "reasoning of earlier turns, as the provider signed it",
            {"messages": [QUESTION, answer | {"reasoning_details": [detail]}, QUESTION]},
            {"input": [QUESTION, thought | {"encrypted_content": SEAL}, answer, QUESTION]},
            ("c2lnbmVk",),
        ),
        Feature("verbosity", {"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    ]


def _parameters() -> list[Feature]:
    return [
        Feature(
            "instructions",
            {"messages": [{"role": "system", "content": "Be brief."}, QUESTION]},
            {"instructions": "Be brief."},
            ("Be brief.",),
        ),
        *_media(),
        *_tools(),
        *_forms(),
        Feature("limit of tokens", {"max_completion_tokens": 1234}, {"max_output_tokens": 1234}, ("1234",)),
        alike("temperature", 0.25, "0.25"),
        alike("top_p", 0.75, "0.75"),
        Feature("top_k", {"top_k": 41}, None, ("41",)),
        Feature("stop", {"stop": ["END"]}, None, ("END",)),
        Feature("seed", {"seed": 4711}, None, ("4711",)),
        Feature("frequency_penalty", {"frequency_penalty": 0.125}, {"frequency_penalty": 0.125}, ("0.125",)),
        Feature("presence_penalty", {"presence_penalty": 0.125}, {"presence_penalty": 0.125}, ("0.125",)),
        Feature(
            "log probabilities",
            {"logprobs": True, "top_logprobs": 3},
            {"include": ["message.output_text.logprobs"], "top_logprobs": 3},
            ("3",),
        ),
        alike("service_tier", "flex", "flex"),
        alike("safety_identifier", "user-81", "user-81"),
        alike("prompt_cache_key", "key-82", "key-82"),
        Feature("unknown parameters", {"novel": "value-83"}, {"novel": "value-83"}, ("value-83",)),
    ]


FEATURES = _parameters()

BODIES: dict[str, Body] = {
    "openai-responses": responses_body,
    "openai-chat (OpenAI)": lambda turn: chat_body(turn, OPENAI),
    "openai-chat (compatible)": lambda turn: chat_body(turn, COMPATIBLE),
    "anthropic": messages_body,
    "gemini": gemini_body,
    "bedrock": converse_body,
}
"""What is sent for a turn, by the type of the provider."""

NATIVE: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("chat completions", "openai-chat (OpenAI)"): chat_over_chat,
    ("responses", "openai-responses"): responses_over_responses,
}
"""Where face and dialect are the same API, and nothing is a turn."""

FACES = ("responses", "chat completions")


SEALS = {
    "openai-responses": "c2lnbmVk",
    "anthropic": seal("anthropic", "signature", "c2lnbmVk"),
    "gemini": seal("gemini", "text", "c2lnbmVk"),
    "bedrock": seal("bedrock", "signature", "c2lnbmVk"),
}

WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "reasoning of earlier turns, as text": ("anthropic", "gemini", "bedrock"),
    "reasoning of earlier turns, as the provider signed it": ("openai-chat",),
    "safety_identifier": ("gemini",),
    "prompt_cache_key": ("anthropic", "gemini"),
}
"""By the name of the feature, the types of providers whose models it changes nothing for."""


def cell(face: str, provider: str, feature: Feature) -> str:
    """Whether the upstream is asked for a feature: YES, the parameter that is refused as `400 name`, NO_WORD or NO_EFFECT."""
    asked, base = (feature.responses, feature.responses_base) if face == "responses" else (feature.chat, feature.chat_base)
    if asked is None:
        return NO_WORD
    sent = _outcome(face, provider, _sealed({**base, **asked}, provider))
    if isinstance(sent, ServiceError):
        assert sent.param, f"{provider} refuses {feature.name} without a name"
        return f"400 `{sent.param}`"
    missing = [mark for mark in feature.marks if mark.encode() not in sent]
    if provider.partition(" ")[0] in WITHOUT_EFFECT.get(feature.name, ()) and missing:
        return NO_EFFECT
    assert sent != _sent(face, provider, dict(base)), f"{provider} drops {feature.name} on {face}"
    assert not missing, f"{provider} is sent {feature.name} on {face} without {missing}"
    return YES


def _sealed(asked: Json, provider: str) -> Json:
    found: Json = orjson.loads(orjson.dumps(asked).replace(SEAL.encode(), SEALS.get(provider, "c2lnbmVk").encode()))
    return found


def _outcome(face: str, provider: str, asked: Json) -> bytes | ServiceError:
    try:
        return _sent(face, provider, asked)
    except ServiceError as error:
        return error


def _sent(face: str, provider: str, asked: Json) -> bytes:
    start: Json = {"input": "hi"} if face == "responses" else {"messages": [QUESTION]}
    request = {"model": "a/m", **start, **asked}
    native = NATIVE.get((face, provider))
    if native is not None:
        return canonical(native(request))
    body = BODIES[provider]
    if face == "responses":
        return canonical(body(parse_response(checked(CreateResponseRequest, request), MODELS.get(provider, "m"), stream=False)))
    return canonical(body(parse_chat(checked(CreateChatCompletionRequest, request), MODELS.get(provider, "m"), stream=False)))


MODELS = {"anthropic": "claude-opus-4-5", "gemini": "gemini-3-pro", "bedrock": "anthropic.claude-opus-4-5-v1:0"}
"""Names of models whose family decides what can be asked for."""
