"""The SDK's types as the domain's."""

import json
from collections.abc import Iterable
from typing import Any

import mcp_types as types
import orjson

from trivet.tool_service.domain.tools import Content, Media, Other, ResourceLink, Text, Tool, ToolResult


def tool(found: types.Tool) -> Tool:
    """A listed tool. Its title may stand in either of two places."""
    hints = found.annotations
    return Tool(
        name=found.name,
        title=found.title or (hints.title if hints else None) or "",
        description=found.description or "",
        input_schema=_json(found.input_schema),
        output_schema=_json(found.output_schema) if found.output_schema is not None else "",
        annotations=_json(_dump(hints)) if hints is not None else "",
    )


def result(found: types.CallToolResult, max_bytes: int) -> ToolResult:
    """What a call gave; a failed result in its place if it is larger than `max_bytes`."""
    structured = _json(found.structured_content) if found.structured_content is not None else None
    content = tuple(_content(block) for block in found.content)
    size = len(structured or "") + sum(_sizes(content))
    if size > max_bytes:
        return ToolResult.failure(f"The result has {size} bytes; at most {max_bytes} are passed on.")
    return ToolResult(content, structured, bool(found.is_error))


def _content(block: types.ContentBlock) -> Content:
    match block:
        case types.TextContent():
            return Text(block.text)
        case types.ImageContent() | types.AudioContent():
            return Media(block.type, block.data, block.mime_type)
        case types.ResourceLink():
            return ResourceLink(block.uri, block.name, block.description or "", block.mime_type or "")
    return Other(_json(_dump(block)))


def _sizes(content: Iterable[Content]) -> Iterable[int]:
    for piece in content:
        match piece:
            case Text(text):
                yield len(text)
            case Media(data=data):
                yield len(data)
            case Other(text):
                yield len(text)


def _dump(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
