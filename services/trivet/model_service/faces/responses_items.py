"""The items of a Responses request as the entries of a conversation."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model.v1 import response_content_pb2 as content
from trivet.model.v1 import response_item_pb2 as pb
from trivet.model_service.domain.turn import (
    Audio,
    Entry,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from trivet.model_service.faces.responses_tools import flat_name

_TEXTS: Final = frozenset({"reasoning_text", "summary_text", "text"})

Role = Literal["system", "developer", "user", "assistant"]

_ROLES: Final[dict[str, Role]] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "developer"}


def read_input(given: pb.ResponseInput) -> list[Entry]:
    """The conversation that an input is; ids, statuses and phases, which say nothing to a model, are left out.

    Raises:
        UnsupportedParameter: an item or part of a kind that only certain providers have.
        InvalidRequest: an item lacks what it is about.
    """
    if given.WhichOneof("kind") == "text":
        return [Message("user", (Text(given.text),), param="input")]
    return [_entry(item, f"input[{index}]") for index, item in enumerate(given.items.items)]


def _entry(item: pb.Item, param: str) -> Entry:
    kind = item.WhichOneof("kind")
    if kind is None or kind not in _READERS:
        raise UnsupportedParameter(f"This model's provider takes no items such as '{param}'.", param)
    return _READERS[kind](getattr(item, kind), param)


def _message(item: pb.Message, param: str) -> Message:
    role = _ROLES.get(item.role)
    if role is None:
        where = f"{param}.role"
        raise InvalidRequest(f"Invalid '{where}': expected 'user', 'assistant', 'system' or 'developer'.", where)
    return Message(role, _parts(_given(item, "content", param), f"{param}.content"), param=param)


def _reasoning(item: pb.ReasoningItem, param: str) -> Reasoning:
    return Reasoning(
        text="".join(_texts(item.content, f"{param}.content")),
        summary=tuple(_texts(item.summary, f"{param}.summary")),
        encrypted=item.encrypted_content,
        id=item.id,
        param=param,
    )


def _function_call(item: pb.FunctionCall, param: str) -> ToolCall:
    name = flat_name(item.namespace, _given(item, "name", param))
    return ToolCall(_given(item, "call_id", param), name, item.arguments, "function", param)


def _custom_call(item: pb.CustomToolCall, param: str) -> ToolCall:
    name = flat_name(item.namespace, _given(item, "name", param))
    return ToolCall(_given(item, "call_id", param), name, item.input, "custom", param)


def _function_output(item: pb.FunctionCallOutput, param: str) -> ToolResult:
    parts = _parts(_given(item, "output", param), f"{param}.output")
    return ToolResult(_given(item, "call_id", param), parts, "function", param)


def _custom_output(item: pb.CustomToolCallOutput, param: str) -> ToolResult:
    parts = _parts(_given(item, "output", param), f"{param}.output")
    return ToolResult(_given(item, "call_id", param), parts, "custom", param)


_READERS: Final[dict[str, Callable[[Any, str], Entry]]] = {
    "message": _message,
    "reasoning": _reasoning,
    "function_call": _function_call,
    "function_call_output": _function_output,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _custom_output,
}


def _given(item: Any, field: str, param: str) -> Any:
    """The field of an item that the item is nothing without."""
    value = getattr(item, field)
    if value == "" or (not isinstance(value, str) and not item.HasField(field)):
        raise InvalidRequest(f"Missing required parameter: '{param}.{field}'.", f"{param}.{field}")
    return value


def _parts(given: content.MessageContent, param: str) -> tuple[Part, ...]:
    if given.WhichOneof("kind") == "text":
        return (Text(given.text),)
    return tuple(_read_parts(given.parts.parts, param))


def _read_parts(parts: Iterable[content.ContentPart], param: str) -> Iterator[Part]:
    for index, part in enumerate(parts):
        where = f"{param}[{index}]"
        match part.WhichOneof("kind"):
            case "input_text":
                _refuse(part.input_text, where, "prompt_cache_breakpoint")
                yield Text(part.input_text.text)
            case "output_text" | "text" as kind:
                yield Text(getattr(part, kind).text)
            case "refusal":
                yield Refusal(part.refusal.refusal)
            case "input_image":
                yield _image(part.input_image, where)
            case "input_file":
                yield _file(part.input_file, where)
            case "input_audio":
                yield Audio(part.input_audio.input_audio.data, part.input_audio.input_audio.format)
            case _:
                raise UnsupportedParameter(f"This model's provider takes no content such as '{where}'.", where)


def _texts(parts: Iterable[content.ContentPart], param: str) -> Iterator[str]:
    for index, part in enumerate(parts):
        kind = part.WhichOneof("kind")
        if kind not in _TEXTS:
            where = f"{param}[{index}]"
            raise InvalidRequest(f"Invalid '{where}': expected a text part.", where)
        yield getattr(part, kind).text


def _refuse(part: Any, param: str, *names: str) -> None:
    for name in names:
        if part.HasField(name):
            where = f"{param}.{name}"
            raise UnsupportedParameter(f"This model's provider cannot be asked for '{where}'.", where)


def _image(part: content.InputImage, param: str) -> Image:
    _refuse(part, param, "prompt_cache_breakpoint")
    if not part.image_url and not part.file_id:
        raise InvalidRequest(f"Missing required parameter: '{param}.image_url'.", f"{param}.image_url")
    return Image(part.image_url, part.detail, part.file_id)


def _file(part: content.InputFile, param: str) -> File:
    _refuse(part, param, "detail", "prompt_cache_breakpoint")
    if not part.file_data and not part.file_url and not part.file_id:
        raise InvalidRequest(f"Missing required parameter: '{param}.file_data'.", f"{param}.file_data")
    return File(part.file_data, part.filename, part.file_url, part.file_id)
