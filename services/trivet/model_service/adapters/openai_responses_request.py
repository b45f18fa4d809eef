"""A turn as the body of a Responses request."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
from orjson import Fragment

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.extra_parameters import with_extra
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

Body = dict[str, Any]

_SAME_NAME: Final = (
    "parallel_tool_calls",
    "max_output_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "top_logprobs",
    "service_tier",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)
_MISSING: Final = ("top_k", "seed", "stop")
_NOT_IN_A_TURN: Final = frozenset({"background"})
"""Parameters of this API whose answers a turn has no events for."""


def responses_body(request: TurnRequest) -> Body:
    """The JSON body that asks for `request`. Nothing is stored unless `request.extra` says so.

    Raises:
        UnsupportedParameter: there is no way to ask for it.
    """
    for name in _MISSING:
        if getattr(request, name) not in {None, ()}:
            raise UnsupportedParameter(f"This model's provider has no parameter '{name}'.", name)
    given = [_item(entry) for entry in request.conversation]
    body: Body = without_seals({"model": request.model, "input": given, "stream": request.stream})
    body |= {name: value for name in _SAME_NAME if (value := getattr(request, name)) is not None}
    if request.logprobs:
        body["include"] = ["message.output_text.logprobs"]
    if request.metadata:
        body["metadata"] = dict(request.metadata)
    if text := _text(request):
        body["text"] = text
    if reasoning := _given(effort=request.reasoning_effort, summary=request.reasoning_summary):
        body["reasoning"] = reasoning
    body |= _tools(request.tools, request.tool_choice)
    return {"store": False} | with_extra(body, request, _NOT_IN_A_TURN)


def without_seals(body: Body) -> Body:
    """The body without what another dialect has sealed; a thought of which nothing is left is left out."""
    if isinstance(body.get("input"), list):
        body["input"] = [item for item in map(_unsealed, body["input"]) if item is not None]
    return body


def _unsealed(item: Any) -> Any:
    if not isinstance(item, dict) or not is_seal(item.get("encrypted_content") or ""):
        return item
    rest = {key: value for key, value in item.items() if key != "encrypted_content"}
    return rest if rest.get("content") or rest.get("summary") else None


def _given(**values: Any) -> Body:
    return {key: value for key, value in values.items() if value not in {None, ""}}


# ---- the conversation ----------------------------------------------------------------------------------------------


def _item(entry: Entry) -> Body:
    match entry:
        case Message():
            return _message(entry)
        case Reasoning():
            return _reasoning(entry)
        case ToolCall(kind="custom"):
            return {"type": "custom_tool_call", "call_id": entry.id, "name": entry.name, "input": entry.arguments}
        case ToolCall():
            return {"type": "function_call", "call_id": entry.id, "name": entry.name, "arguments": entry.arguments}
        case ToolResult():
            kind = "custom_tool_call_output" if entry.kind == "custom" else "function_call_output"
            return {"type": kind, "call_id": entry.call_id, "output": _content(entry.parts, "input_text")}


def _message(entry: Message) -> Body:
    if entry.name:
        raise UnsupportedParameter("This model's provider takes no names of participants.", f"{entry.param}.name")
    text = "output_text" if entry.role == "assistant" else "input_text"
    return {"type": "message", "role": entry.role, "content": _content(entry.parts, text)}


def _reasoning(entry: Reasoning) -> Body:
    summary = [{"type": "summary_text", "text": text} for text in entry.summary]
    content = [{"type": "reasoning_text", "text": entry.text}] if entry.text else None
    rest = _given(id=entry.id, encrypted_content=entry.encrypted)
    return {"type": "reasoning", "summary": summary} | rest | ({"content": content} if content else {})


def _content(parts: Sequence[Part], text: str) -> str | list[Body]:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return list(_parts(parts, text))


def _parts(parts: Sequence[Part], text: str) -> Iterator[Body]:
    for part in parts:
        match part:
            case Text():
                yield {"type": text, "text": part.text}
            case Refusal():
                yield {"type": "refusal", "refusal": part.text}
            case Image():
                image = _given(image_url=part.url, file_id=part.file_id)
                yield {"type": "input_image", "detail": part.detail or "auto"} | image
            case File():
                known = _given(file_data=part.data, filename=part.filename, file_url=part.url, file_id=part.file_id)
                yield {"type": "input_file"} | known
            case Audio():
                yield {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}


# ---- text ----------------------------------------------------------------------------------------------------------


def _text(request: TurnRequest) -> Body:
    form = {"format": _format(request.text_format)} if request.text_format is not None else {}
    return form | _given(verbosity=request.verbosity)


def _format(wanted: TextFormat) -> Body:
    if wanted.type != "json_schema":
        return {"type": wanted.type}
    known = _given(description=wanted.description, strict=wanted.strict)
    return {"type": "json_schema", "name": wanted.name, "schema": Fragment(wanted.schema or "{}")} | known


# ---- tools ---------------------------------------------------------------------------------------------------------


def _tools(tools: Sequence[Tool], choice: ToolChoice | None) -> Body:
    given: Body = {"tools": [_tool(tool) for tool in tools]} if tools else {}
    return given | ({"tool_choice": _tool_choice(choice, tools)} if choice is not None else {})


def _tool(tool: Tool) -> Body | Fragment:
    match tool:
        case HostedTool():
            return Fragment(tool.raw)
        case CustomTool():
            form = {"format": _custom_format(tool.format)} if tool.format else {}
            return {"type": "custom", "name": tool.name} | _given(description=tool.description) | form
        case FunctionTool():
            # Here a function is strict unless it is said not to be; in a turn it is the other way round.
            known = {"parameters": Fragment(tool.parameters or "null"), "strict": bool(tool.strict)}
            return {"type": "function", "name": tool.name} | _given(description=tool.description) | known


def _custom_format(raw: str) -> Body:
    """A turn has a grammar in an object of its own, this API has its keys beside the type."""
    form: Body = orjson.loads(raw)
    return {"type": form.get("type"), **form["grammar"]} if isinstance(form.get("grammar"), dict) else form


def _tool_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Any:
    match choice.kind:
        case "mode":
            return choice.mode
        case "hosted":
            return Fragment(choice.hosted)
        case "named":
            return {"type": choice.tool_kind, "name": choice.names[0]}
        case "allowed":
            customs = {tool.name for tool in tools if isinstance(tool, CustomTool)}
            allowed = [{"type": "custom" if name in customs else "function", "name": name} for name in choice.names]
            return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}
