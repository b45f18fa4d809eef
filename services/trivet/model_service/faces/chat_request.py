"""A chat completions request as a turn, for dialects of another shape."""

from collections.abc import Iterator
from typing import Any, Final, Literal, cast

import orjson

from trivet.content.v1 import chat_message_pb2 as chat
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest, ResponseFormat
from trivet.content.v1.chat_tool_pb2 import ChatTool, ChatToolCall, ChatToolChoice
from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model_service.domain.turn import (
    Audio,
    CustomTool,
    Entry,
    File,
    FunctionTool,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    TextFormat,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    TurnRequest,
)
from trivet.model_service.faces.unknown_keys import refuse_unknown_keys

_SAME_NAME: Final = (
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "top_logprobs",
    "verbosity",
    "reasoning_effort",
    "service_tier",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)
_NAMES: Final = {"text_format": "response_format"}

_ONLY_CHAT: Final = (
    "logit_bias",
    "audio",
    "prediction",
    "web_search_options",
    "moderation",
    "functions",
    "function_call",
)
"""What no other API has in a form that means the same."""

_ANSWER_ONLY: Final = frozenset({"annotations", "index", "parsed", "parsed_arguments"})
"""What a model's answer carries, and its tool calls, and a caller sends back with it: it asks for nothing. The SDK adds
what it has parsed."""


def parse_chat(request: CreateChatCompletionRequest, upstream_model: str, *, stream: bool) -> TurnRequest:
    """The turn that `request` asks for.

    Raises:
        UnsupportedParameter: only an upstream that speaks chat completions itself can be asked for it.
        InvalidRequest: it contradicts itself.
    """
    _refuse_only_chat(request)
    refuse_unknown_keys(request, meaningless=_ANSWER_ONLY)
    same = {name: getattr(request, name) for name in _SAME_NAME if request.HasField(cast("Any", name))}
    return TurnRequest(
        model=upstream_model,
        conversation=tuple(_conversation(request)),
        stream=stream,
        tools=tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(request.tools)),
        tool_choice=_tool_choice(request.tool_choice) if request.HasField("tool_choice") else None,
        max_output_tokens=_limit(request),
        stop=_stop(request),
        logprobs=request.logprobs,
        text_format=_text_format(request.response_format) if request.HasField("response_format") else None,
        metadata=dict(request.metadata),
        extra=dict(_extra(request)),
        names=_NAMES,
        **same,
    )


def _refuse_only_chat(request: CreateChatCompletionRequest) -> None:
    given = {field.name for field, _ in request.ListFields()}
    for name in _ONLY_CHAT:
        if name in given:
            raise _unsupported(name)
    if request.n > 1:
        raise UnsupportedParameter("This model's provider gives one answer to a request.", "n")
    if any(modality != "text" for modality in request.modalities):
        raise UnsupportedParameter("This model's provider answers in text.", "modalities")


def _unsupported(param: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"This model's provider cannot be asked for `{param}`.", param)


def _limit(request: CreateChatCompletionRequest) -> int | None:
    if request.HasField("max_completion_tokens"):
        return request.max_completion_tokens
    return request.max_tokens if request.HasField("max_tokens") else None


def _stop(request: CreateChatCompletionRequest) -> tuple[str, ...]:
    return (request.stop.text,) if request.stop.HasField("text") else tuple(request.stop.texts.values)


def _extra(request: CreateChatCompletionRequest) -> Iterator[tuple[str, str]]:
    for name in ("store", "prompt_cache_retention"):
        if request.HasField(cast("Any", name)):
            yield name, orjson.dumps(getattr(request, name)).decode()
    if request.prompt_cache_options:
        yield "prompt_cache_options", request.prompt_cache_options
    for name, value in orjson.loads(request.extra or "{}").items():
        # A known name stands here only with a value that says as much as its absence: null, or nothing in a list.
        if name not in request.DESCRIPTOR.fields_by_name:
            yield name, orjson.dumps(value).decode()


# ---- the conversation ----------------------------------------------------------------------------------------------


def _conversation(request: CreateChatCompletionRequest) -> Iterator[Entry]:
    kinds: dict[str, Literal["function", "custom"]] = {}
    function_calls = 0
    for index, message in enumerate(request.messages):
        where = f"messages[{index}]"
        match message.WhichOneof("message"):
            case "system" | "developer" | "user" as role:
                yield _spoken(role, getattr(message, role), where)
            case "assistant":
                function_calls += message.assistant.HasField("function_call")
                for entry in _assistant(message.assistant, f"call_{function_calls}", where):
                    if isinstance(entry, ToolCall):
                        kinds[entry.id] = entry.kind
                    yield entry
            case "tool":
                call = message.tool.tool_call_id
                yield ToolResult(call, _parts(message.tool.content, where), kinds.get(call, "function"), where)
            case "function":
                yield ToolResult(f"call_{function_calls}", (Text(message.function.content),), param=where)
            case _:
                raise InvalidRequest("A message needs a role.", where)


def _spoken(
    role: Literal["system", "developer", "user"],
    message: chat.SystemMessage | chat.DeveloperMessage | chat.UserMessage,
    where: str,
) -> Message:
    return Message(role, _parts(message.content, where), message.name, where)


def _assistant(message: chat.AssistantMessage, function_call_id: str, where: str) -> Iterator[Entry]:
    if message.HasField("audio"):
        raise _unsupported(f"{where}.audio")
    if message.reasoning_content:
        yield Reasoning(text=message.reasoning_content, param=where)
    parts = _parts(message.content, where) if message.HasField("content") else ()
    if message.refusal:
        parts = (*parts, Refusal(message.refusal))
    if parts or message.name:
        yield Message("assistant", parts, message.name, where)
    for index, call in enumerate(message.tool_calls):
        yield _call(call, f"{where}.tool_calls[{index}]")
    if message.HasField("function_call"):
        # The older form has no ids: its result is whatever comes next.
        yield ToolCall(function_call_id, message.function_call.name, message.function_call.arguments, param=where)


def _call(call: ChatToolCall, where: str) -> ToolCall:
    match call.WhichOneof("call"):
        case "function":
            return ToolCall(call.function.id, call.function.function.name, call.function.function.arguments, param=where)
        case "custom":
            return ToolCall(call.custom.id, call.custom.custom.name, call.custom.custom.input, "custom", where)
        case _:
            raise _unsupported(where)


def _parts(content: chat.ChatContent, where: str) -> tuple[Part, ...]:
    if content.HasField("text"):
        return (Text(content.text),)
    return tuple(_part(part, f"{where}.content[{index}]") for index, part in enumerate(content.parts.parts))


def _part(part: chat.ChatContentPart, where: str) -> Part:
    match part.WhichOneof("part"):
        case "text":
            return Text(part.text.text)
        case "image":
            return Image(part.image.image_url.url, part.image.image_url.detail)
        case "audio":
            return Audio(part.audio.input_audio.data, part.audio.input_audio.format)
        case "file":
            file = part.file.file
            return File(data=file.file_data, filename=file.filename, file_id=file.file_id)
        case "refusal":
            return Refusal(part.refusal.refusal)
        case _:
            raise _unsupported(where)


# ---- tools and form ------------------------------------------------------------------------------------------------


def _tool(tool: ChatTool, where: str) -> Tool:
    match tool.WhichOneof("tool"):
        case "function":
            function = tool.function.function
            strict = function.strict if function.HasField("strict") else None
            return FunctionTool(function.name, function.description, function.parameters, strict)
        case "custom":
            custom = tool.custom.custom
            return CustomTool(custom.name, custom.description, custom.format, where)
        case _:
            raise _unsupported(where)


def _tool_choice(choice: ChatToolChoice) -> ToolChoice:
    if choice.HasField("mode"):
        return ToolChoice(mode=_mode(choice.mode, "tool_choice"))
    match choice.object.WhichOneof("choice"):
        case "function":
            return ToolChoice("required", "named", (choice.object.function.function.name,))
        case "custom":
            return ToolChoice("required", "named", (choice.object.custom.custom.name,), "custom")
        case "allowed_tools":
            allowed = choice.object.allowed_tools.allowed_tools
            names = tuple(_allowed_name(tool, index) for index, tool in enumerate(allowed.tools))
            return ToolChoice(_mode(allowed.mode, "tool_choice.allowed_tools.mode"), "allowed", names)
        case _:
            raise _unsupported("tool_choice")


def _allowed_name(tool: ChatTool, index: int) -> str:
    if tool.HasField("unknown"):
        raise _unsupported(f"tool_choice.allowed_tools.tools[{index}]")
    return tool.function.function.name or tool.custom.custom.name


def _mode(mode: str, param: str) -> Literal["auto", "required", "none"]:
    match mode:
        case "auto" | "required" | "none":
            return mode
        case _:
            raise InvalidRequest("Tools are chosen by `auto`, `required` or `none`.", param)


def _text_format(wanted: ResponseFormat) -> TextFormat:
    match wanted.WhichOneof("format"):
        case "text":
            return TextFormat()
        case "json_object":
            return TextFormat("json_object")
        case "json_schema":
            schema = wanted.json_schema.json_schema
            strict = schema.strict if schema.HasField("strict") else None
            return TextFormat("json_schema", schema.name, schema.description, schema.schema, strict)
        case _:
            raise _unsupported("response_format")
