"""A turn as the body of a chat completions request."""

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

from orjson import Fragment

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.chat_flavors import ChatFlavor, in_flavor
from trivet.model_service.adapters.extra_parameters import with_extra
from trivet.model_service.adapters.reasoning_details import DETAILS, open_details
from trivet.model_service.domain.seals import is_seal
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
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    TurnRequest,
)

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
_same: Final = attrgetter(*_SAME_NAME)
_NONE_GIVEN: Final = (None,) * len(_SAME_NAME)

_NOT_IN_A_TURN: Final = frozenset(
    {"n", "modalities", "audio", "functions", "function_call", "max_tokens", "max_completion_tokens"}
)
"""Parameters of this API whose answers a turn has no events for, or that a turn has in a field of its own."""


def chat_body(request: TurnRequest, flavor: ChatFlavor) -> dict[str, Any]:
    """The JSON body that asks for `request`.

    Raises:
        UnsupportedParameter: there is no way to ask for it.
    """
    if request.reasoning_summary is not None:
        _refuse_summaries(request)
    body: dict[str, Any] = {"model": request.model, "messages": _messages(request.conversation)}
    if not flavor.reasoning_details:
        for message in body["messages"]:
            if DETAILS in message:
                del message[DETAILS]
    given = _same(request)
    if given != _NONE_GIVEN:
        body.update({name: value for name, value in zip(_SAME_NAME, given, strict=True) if value is not None})
    body |= _under_other_names(request)
    if request.tools or request.tool_choice is not None:
        body |= _tools(request.tools, request.tool_choice)
    if request.extra:
        body = with_extra(body, request, _NOT_IN_A_TURN)
    return in_flavor(body, flavor, lambda name: request.param("text_format" if name == "response_format" else name))


def _under_other_names(request: TurnRequest) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if request.max_output_tokens is not None:
        found["max_completion_tokens"] = request.max_output_tokens
    if request.stop:
        found["stop"] = list(request.stop)
    if request.logprobs or request.top_logprobs is not None:
        found["logprobs"] = True
    if request.metadata:
        found["metadata"] = dict(request.metadata)
    if request.text_format:
        found["response_format"] = _response_format(request.text_format)
    if request.stream:
        found |= {"stream": True, "stream_options": {"include_usage": True}}
    return found


def _refuse_summaries(request: TurnRequest) -> None:
    if request.reasoning_summary != "auto":
        # `auto` takes what there is, and here is none; every other value asks for a certain one.
        raise UnsupportedParameter("This model's provider writes no reasoning summaries.", request.reasoning_summary_param)


# ---- tools ---------------------------------------------------------------------------------------------------------


def _tools(tools: Sequence[Tool], choice: ToolChoice | None) -> dict[str, Any]:
    found: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]} if tools else {}
    if choice is not None:
        found["tool_choice"] = _tool_choice(choice, tools)
    return found


def _tool(tool: Tool) -> dict[str, Any]:
    if isinstance(tool, HostedTool):
        raise UnsupportedParameter(f"This model's provider has no tools of the type `{tool.type}`.", tool.param)
    known: dict[str, Any] = {"name": tool.name}
    if tool.description:
        known["description"] = tool.description
    if isinstance(tool, CustomTool):
        if tool.format:
            known["format"] = Fragment(tool.format)
        return {"type": "custom", "custom": known}
    if tool.parameters:
        known["parameters"] = Fragment(tool.parameters)
    if tool.strict is not None:
        known["strict"] = tool.strict
    return {"type": "function", "function": known}


def _tool_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Any:
    if choice.kind == "hosted":
        raise UnsupportedParameter("This model's provider cannot be told to choose this tool.", "tool_choice")
    if choice.kind == "mode":
        return choice.mode
    if choice.kind == "named":
        return _named(choice.tool_kind, choice.names[0])
    kinds: dict[str, str] = {tool.name: _kind(tool) for tool in tools if not isinstance(tool, HostedTool)}
    allowed = [_named(kinds.get(name, choice.tool_kind), name) for name in choice.names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": allowed}}


def _kind(tool: FunctionTool | CustomTool) -> str:
    return "custom" if isinstance(tool, CustomTool) else "function"


def _named(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, kind: {"name": name}}


def _response_format(wanted: TextFormat) -> dict[str, Any]:
    if wanted.type != "json_schema":
        return {"type": wanted.type}
    schema: dict[str, Any] = {"name": wanted.name, "schema": Fragment(wanted.schema or "{}")}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


# ---- the conversation ----------------------------------------------------------------------------------------------


def _messages(conversation: Sequence[Entry]) -> list[dict[str, Any]]:
    """Chat messages; what an assistant thought, said and called in one turn becomes one message."""
    messages: list[dict[str, Any]] = []
    assistant: dict[str, Any] | None = None
    for entry in conversation:
        if isinstance(entry, Message) and entry.role != "assistant":
            assistant = None
            message: dict[str, Any] = {"role": entry.role, "content": _content(entry.parts, entry.param)}
            if entry.name:
                message["name"] = entry.name
            messages.append(message)
        elif isinstance(entry, ToolResult):
            assistant = None
            messages.append(_tool_message(entry))
        elif said := _said(entry):
            if assistant is None or _closed(assistant, entry):
                assistant = {"role": "assistant", "content": None}
                messages.append(assistant)
            _merge(assistant, said)
    return messages


def _closed(assistant: dict[str, Any], entry: Entry) -> bool:
    """Whether `entry` begins the next message: text after calls does not, since results must follow the calls."""
    said = assistant["content"] is not None or "refusal" in assistant
    if isinstance(entry, Reasoning):
        return said or "tool_calls" in assistant
    return said and isinstance(entry, Message)


def _said(entry: Entry) -> dict[str, Any]:
    match entry:
        case Reasoning():
            return _reasoning(entry)
        case ToolCall():
            return {"tool_calls": [_call(entry)]}
        case Message():
            return _answer(entry)
        case _:
            return {}


def _merge(assistant: dict[str, Any], said: dict[str, Any]) -> None:
    calls = said.pop("tool_calls", None)
    if calls:
        assistant.setdefault("tool_calls", []).extend(calls)
    if thought := said.pop("reasoning_content", ""):
        before = assistant.get("reasoning_content")
        assistant["reasoning_content"] = f"{before}\n\n{thought}" if before else thought
    if details := said.pop(DETAILS, None):
        assistant.setdefault(DETAILS, []).extend(details)
    assistant |= said


def _reasoning(entry: Reasoning) -> dict[str, Any]:
    text = entry.text or "\n\n".join(entry.summary)
    if entry.encrypted and not text and not is_seal(entry.encrypted):
        raise UnsupportedParameter("This model's provider cannot read encrypted reasoning.", f"{entry.param}.encrypted_content")
    said: dict[str, Any] = {"reasoning_content": text} if text else {}
    return said | ({DETAILS: details} if (details := open_details(entry.encrypted)) else {})


def _call(entry: ToolCall) -> dict[str, Any]:
    if entry.kind == "custom":
        return {"id": entry.id, "type": "custom", "custom": {"name": entry.name, "input": entry.arguments}}
    return {"id": entry.id, "type": "function", "function": {"name": entry.name, "arguments": entry.arguments}}


def _answer(entry: Message) -> dict[str, Any]:
    refusal = "".join(part.text for part in entry.parts if isinstance(part, Refusal))
    others = tuple(part for part in entry.parts if not isinstance(part, Refusal))
    answer: dict[str, Any] = {"refusal": refusal} if refusal else {}
    if others or not refusal:
        answer["content"] = _content(others, entry.param)
    if entry.name:
        answer["name"] = entry.name
    return answer


def _tool_message(entry: ToolResult) -> dict[str, Any]:
    if not all(isinstance(part, Text) for part in entry.parts):
        raise UnsupportedParameter("This model's provider takes only text as the result of a tool.", entry.param)
    return {"role": "tool", "tool_call_id": entry.call_id, "content": _content(entry.parts, entry.param)}


def _content(parts: Sequence[Part], param: str) -> str | list[dict[str, Any]]:
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return list(_content_parts(parts, param))


def _content_parts(parts: Sequence[Part], param: str) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(parts):
        where = f"{param}.content[{index}]"
        match part:
            case Text():
                yield {"type": "text", "text": part.text}
            case Image():
                yield _image(part, where)
            case Audio():
                yield {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
            case File():
                yield _file(part, where)
            case Refusal():
                yield {"type": "refusal", "refusal": part.text}


def _image(part: Image, where: str) -> dict[str, Any]:
    if part.file_id:
        raise UnsupportedParameter("This model's provider takes images by URL, not by the id of a file.", where)
    return {"type": "image_url", "image_url": {"url": part.url} | ({"detail": part.detail} if part.detail else {})}


def _file(part: File, where: str) -> dict[str, Any]:
    if part.url:
        raise UnsupportedParameter("This model's provider takes files inline or by id, not by URL.", where)
    known = {"file_data": part.data, "filename": part.filename, "file_id": part.file_id}
    return {"type": "file", "file": {key: value for key, value in known.items() if value}}
