"""Every field of both faces' requests, over every dialect: it reaches the upstream, or is refused by name, or is listed here.

The requests are made from the descriptors, so a new field fails here until it is thought of.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.model.every_field import Probe, canonical, plain, probes
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import ServiceError
from trivet.kernel.validation import validate
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.anthropic_request import messages_body
from trivet.model_service.adapters.bedrock_request import converse_body
from trivet.model_service.adapters.chat_flavors import COMPATIBLE, OPENAI, ChatFlavor
from trivet.model_service.adapters.gemini_request import gemini_body
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_chat_request import chat_body
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.openai_responses_request import responses_body
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.domain.turn import ToolCall, ToolResult, TurnRequest
from trivet.model_service.faces.chat_request import parse_chat
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.faces.responses_request import parse as parse_response

CLAUDE = "claude-opus-4-8"

Way = Callable[[Any], Any]

FUNCTION = {"type": "function", "name": "f"}

CHAT_NEEDED = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}
CHAT_SAMPLES = {"n": 2, "<mode>": "required", "allowed_tools.mode": "auto"}

RESPONSE_NEEDED = {
    "model": "a/m",
    "input": "hi",
    "function_call_output>.call_id": "c",
    "input_image>.image_url": "data:image/png;base64,AA==",
    "input_file>.file_data": "AA==",
    "tools[]<namespace>.tools": [FUNCTION],
    "text.format": {"type": "text"},
    "message>.role": "user",
    "allowed_tools>.tools": [FUNCTION],
}
RESPONSE_SAMPLES = {"<mode>": "none", "include[]": "novel", "truncation": "auto"}

BY_THE_RPC = "the RPC, and no field, says whether the answer is a stream"
PERMISSION = "a permission that is not made use of"
MADE_BY_MODELS = "what an answer carries and a caller hands back with it: it asks for nothing"
KEPT_HERE = "the gateway keeps responses, whatever the provider does"
ECHOED = "the response says what becomes of it"

MEANINGLESS_FOR_RESPONSES = {
    r"stream": BY_THE_RPC,
    r"stream_options(\.include_usage)?": "the usage always comes, and the face shows it where it is asked for",
    r"stream_options\.include_obfuscation": PERMISSION,
    r".*\.tool_info(\..*)?": MADE_BY_MODELS,
    r"tool_choice<.*<allowed_tools>.*tools\[\].*": "only type and name count there",
}

MEANINGLESS_FOR_CHAT = {
    r"stream": BY_THE_RPC,
    r"stream_options(\.include_obfuscation)?": PERMISSION,
    r"metadata.k|store|max_tool_calls": ECHOED,
    r"top_logprobs": "without `include` there are no log probabilities, here as there",
    r"truncation|context_management\[\].*": "seen to by the gateway, around the turn",
    r"reasoning|text": "an object without keys",
    r"input<items>\[\]<\w+>\.(id|status|phase|created_by|async|caller<\w+>)(\..*)?": MADE_BY_MODELS,
    r"input<items>\[\]<function_call_output>\.(name|namespace)": "the call that is answered tells them",
    r"input<items>\[\]<(reasoning|function_call|custom_tool_call)>.*\.novel": MADE_BY_MODELS,
    r".*<output_text>\.(annotations|logprobs|novel).*": MADE_BY_MODELS,
    r"tools\[\].*\.(async|defer_loading)": PERMISSION,
    r"tools\[\](<namespace>\.tools\[\])?<(web_search.*|image_generation|local_shell|shell|apply_patch|tool_search|unknown)>.*": (
        "offered to any model; one that lacks it gets along without"
    ),
}

OWN_REASONING = "Gemini goes on from the signatures of its own thoughts, and from nothing else that was thought"
MEANINGLESS_FOR_GEMINI = {
    r"parallel_tool_calls": "calls are made in parallel anyway",
    r"user|safety_identifier|prompt_cache_key": "there is no word for it, and it changes no answer",
    r"(response_format|text\.format)<text>": "what models write anyway",
    r"(response_format|text\.format)<json_schema>(\.json_schema)?\.strict": "the answer is held to the schema in any case",
    r".*<(image_url|input_image)>.*\.detail": "how finely images are looked at is no matter of the single image",
    r".*<(file|input_file)>.*\.filename": "the data tells its type",
}
GEMINI_FILE = {
    "input_file>.file_data": "data:text/plain;base64,AA==",
    "<file>.file.file_data": "data:text/plain;base64,AA==",
}

CHAT_MEANINGLESS_FOR_GEMINI = (
    MEANINGLESS_FOR_RESPONSES | MEANINGLESS_FOR_GEMINI | {r".*<assistant>\.reasoning_content": OWN_REASONING}
)
RESPONSES_MEANINGLESS_FOR_GEMINI = (
    MEANINGLESS_FOR_CHAT
    | MEANINGLESS_FOR_GEMINI
    | {
        r".*<reasoning>\.(encrypted_content|(summary|content)\[\]<\w*text>(\.text)?)": OWN_REASONING,
        r".*<custom>\.format<text>": "what such a tool takes anyway",
        r"tool_choice<mode>": "where there is no tool to choose",
    }
)

PDF = "JVBERi0="
CLAUDE_CHAT_NEEDED = CHAT_NEEDED | {"<file>.file.file_data": PDF, "tools": [{"type": "function", "function": {"name": "x"}}]}
CLAUDE_RESPONSE_NEEDED = RESPONSE_NEEDED | {"input_file>.file_data": PDF, "tools": [FUNCTION]}

MEANINGLESS_FOR_CLAUDE = {
    r".*<(image_url|input_image)>(\.image_url)?\.detail": "how closely an image is looked at is the model's own",
    r"parallel_tool_calls": "true is what holds anyway, and false is said with the tools",
    r"(response_format|text\.format)<text>": "text is what is written anyway",
    r"(response_format|text\.format)<json_schema>(\.json_schema)?\.strict": "a schema is always kept to",
    r"prompt_cache_key": "a hint that helps only servers which route by it",
}
NOT_SIGNED = "this API takes back only reasoning that it has signed"
MEANINGLESS_FOR_CLAUDE_IN_CHAT = (
    MEANINGLESS_FOR_RESPONSES | MEANINGLESS_FOR_CLAUDE | {r"messages\[\]<assistant>\.reasoning_content": NOT_SIGNED}
)
MEANINGLESS_FOR_CLAUDE_IN_RESPONSES = (
    MEANINGLESS_FOR_CHAT | MEANINGLESS_FOR_CLAUDE | {r"input<items>\[\]<reasoning>\.(summary|content)\[\].*": NOT_SIGNED}
)
INLINE = {
    "image_url.url": "data:image/png;base64,AA==",
    "input_audio.data": "AA==",
    "file.file_data": "data:application/pdf;base64,AA==",
    "input_file>.file_data": "data:application/pdf;base64,AA==",
    "function.arguments": '{"a":1}',
    "function_call.arguments": '{"a":1}',
    "function_call>.arguments": '{"a":1}',
}
UNSIGNED = "what another model thought, unsigned, would be refused"
KEPT_TO = "a schema is always kept to there"
NO_HINT = "images have one size there"
BY_DEFAULT = "what happens anyway"

MEANINGLESS_FOR_BEDROCK = {
    r"stream(_options(\.include_(usage|obfuscation))?)?": BY_THE_RPC,
    r".*\.tool_info(\..*)?": MADE_BY_MODELS,
    r"messages\[\]<assistant>\.reasoning_content": UNSIGNED,
    r".*\.image_url\.detail": NO_HINT,
    r"tool_choice<.*<allowed_tools>.*": "among no tools, `auto` asks for nothing",
    r"parallel_tool_calls|response_format<text>": BY_DEFAULT,
    r"response_format<json_schema>\.json_schema\.strict": KEPT_TO,
}

MEANINGLESS_FOR_BEDROCK_TOO = {
    **{pattern: why for pattern, why in MEANINGLESS_FOR_CHAT.items() if "<(reasoning|function_call|" not in pattern},
    r"input<items>\[\]<reasoning>.*": UNSIGNED,
    r"input<items>\[\]<(function_call|custom_tool_call)>.*\.novel": MADE_BY_MODELS,
    r".*<input_image>\.detail": NO_HINT,
    r"tool_choice<.*": "without tools there is nothing to choose",
    r"parallel_tool_calls|text\.format<text>": BY_DEFAULT,
    r"text\.format<json_schema>\.strict": KEPT_TO,
}

OTHER_NAMES = {"tool_choice<option><allowed_tools>": "tool_choice.tools"}


def chat_over_responses(asked: Any) -> Any:
    return responses_body(parse_chat(checked(CreateChatCompletionRequest, asked), "m", stream=False))


def responses_over_chat(flavor: ChatFlavor) -> Way:
    return lambda asked: chat_body(parse_response(checked(CreateResponseRequest, asked), "m", stream=False), flavor)


def chat_over_gemini(asked: Any) -> Any:
    return gemini_body(after_calls(parse_chat(checked(CreateChatCompletionRequest, asked), "gemini-3-pro", stream=False)))


def responses_over_gemini(asked: Any) -> Any:
    return gemini_body(after_calls(parse_response(checked(CreateResponseRequest, asked), "gemini-3-pro", stream=False)))


def after_calls(turn: TurnRequest) -> TurnRequest:
    """The turn with the calls that it has results of, by whose names Gemini knows them."""
    calls = [ToolCall(entry.call_id, "f", "{}") for entry in turn.conversation if isinstance(entry, ToolResult)]
    return replace(turn, conversation=(*calls, *turn.conversation))


def chat_over_claude(asked: Any) -> Any:
    return messages_body(parse_chat(checked(CreateChatCompletionRequest, asked), CLAUDE, stream=False))


def responses_over_claude(asked: Any) -> Any:
    return messages_body(parse_response(checked(CreateResponseRequest, asked), CLAUDE, stream=False))


def chat_over_bedrock(asked: Any) -> Any:
    return converse_body(parse_chat(checked(CreateChatCompletionRequest, asked), "m", stream=False))


def responses_over_bedrock(asked: Any) -> Any:
    return converse_body(parse_response(checked(CreateResponseRequest, asked), "m", stream=False))


def chat_over_chat(asked: Any) -> Any:
    return sent_by(lambda http: OpenAIChat(http, OPENAI).create_chat_completion(checked(CreateChatCompletionRequest, asked), "m"))


def responses_over_responses(asked: Any) -> Any:
    return sent_by(lambda http: passed_on(OpenAIResponses(http), checked(CreateResponseRequest, asked)))


async def passed_on(dialect: OpenAIResponses, request: CreateResponseRequest) -> Any:
    return await dialect.create_response(request, "m", begin(request, "a"))


def checked(message_class: Any, asked: Any) -> Any:
    request = codec_for(message_class).decode(asked, strict=True)
    validate(request)
    return request


class _SentError(Exception):
    """Carries a body instead of sending it."""


class _Recorder:
    async def post_json(self, _path: str, body: Any) -> None:
        raise _SentError(body)


def sent_by(call: Callable[[UpstreamHttp], Any]) -> Any:
    with pytest.raises(_SentError) as sent:
        call(cast("UpstreamHttp", _Recorder())).send(None)
    return sent.value.args[0]


@pytest.mark.parametrize(
    ("message_class", "way", "needed", "samples", "meaningless"),
    [
        pytest.param(
            CreateChatCompletionRequest, chat_over_responses, CHAT_NEEDED, CHAT_SAMPLES, MEANINGLESS_FOR_RESPONSES,
            id="chat over responses",
        ),
        pytest.param(
            CreateResponseRequest, responses_over_chat(OPENAI), RESPONSE_NEEDED, RESPONSE_SAMPLES, MEANINGLESS_FOR_CHAT,
            id="responses over openai's chat",
        ),
        pytest.param(
            CreateResponseRequest, responses_over_chat(COMPATIBLE), RESPONSE_NEEDED, RESPONSE_SAMPLES, MEANINGLESS_FOR_CHAT,
            id="responses over compatible chat",
        ),
        pytest.param(
            CreateChatCompletionRequest, chat_over_claude, CLAUDE_CHAT_NEEDED, CHAT_SAMPLES, MEANINGLESS_FOR_CLAUDE_IN_CHAT,
            id="chat over anthropic",
        ),
        pytest.param(
            CreateResponseRequest, responses_over_claude, CLAUDE_RESPONSE_NEEDED, RESPONSE_SAMPLES,
            MEANINGLESS_FOR_CLAUDE_IN_RESPONSES, id="responses over anthropic",
        ),
        pytest.param(
            CreateChatCompletionRequest, chat_over_bedrock, CHAT_NEEDED | INLINE, CHAT_SAMPLES, MEANINGLESS_FOR_BEDROCK,
            id="chat over bedrock",
        ),
        pytest.param(
            CreateResponseRequest, responses_over_bedrock, RESPONSE_NEEDED | INLINE, RESPONSE_SAMPLES, MEANINGLESS_FOR_BEDROCK_TOO,
            id="responses over bedrock",
        ),
        pytest.param(
            CreateChatCompletionRequest, chat_over_chat, CHAT_NEEDED, CHAT_SAMPLES,
            {r"stream(_options.*)?": BY_THE_RPC}, id="chat over chat",
        ),
        pytest.param(
            CreateResponseRequest, responses_over_responses, RESPONSE_NEEDED, RESPONSE_SAMPLES,
            {r"stream(_options.*)?": BY_THE_RPC, r"store": KEPT_HERE}, id="responses over responses",
        ),
        pytest.param(
            CreateChatCompletionRequest, chat_over_gemini, CHAT_NEEDED | GEMINI_FILE, CHAT_SAMPLES, CHAT_MEANINGLESS_FOR_GEMINI,
            id="chat over gemini",
        ),
        pytest.param(
            CreateResponseRequest, responses_over_gemini, RESPONSE_NEEDED | GEMINI_FILE, RESPONSE_SAMPLES,
            RESPONSES_MEANINGLESS_FOR_GEMINI, id="responses over gemini",
        ),
    ],
)  # fmt: skip
def test_no_field_is_dropped_in_silence(
    message_class: Any, way: Way, needed: dict[str, Any], samples: dict[str, Any], meaningless: dict[str, str]
) -> None:
    dropped: list[str] = []
    used: set[str] = set()
    seen = 0
    for probe in probes(message_class.DESCRIPTOR, needed, samples, lambda probe: is_left_out(probe, way, meaningless)):
        seen += 1
        if is_dropped(probe, way):
            matching = {pattern for pattern in meaningless if re.fullmatch(pattern, probe.path)}
            used |= matching
            if not matching:
                dropped.append(probe.path)
    assert dropped == []
    assert meaningless.keys() - used == set(), "listed as meaningless, but it is not dropped"
    assert seen > 100


def is_left_out(probe: Probe, way: Way, meaningless: dict[str, str]) -> bool:
    """Where the whole part is refused or meaningless, so is what is in it."""
    if any(re.fullmatch(pattern, probe.path) for pattern in meaningless) and is_dropped(probe, way):
        return plain(probe.path) not in {"reasoning", "text", "stream_options"}
    return isinstance(outcome(way, probe.given), ServiceError)


def is_dropped(probe: Probe, way: Way) -> bool:
    """Whether a field changes nothing and is not refused under its name, or that of what it is in."""
    given = outcome(way, probe.given)
    if isinstance(given, ServiceError):
        named = given.param == OTHER_NAMES.get(probe.path) or plain(probe.path).startswith(given.param)
        assert given.param, probe.path
        assert named, (probe.path, given.param, given.message)
        return False
    return given == outcome(way, probe.without)


def outcome(way: Way, asked: Any) -> bytes | ServiceError:
    try:
        return canonical(way(asked))
    except ServiceError as error:
        return error
