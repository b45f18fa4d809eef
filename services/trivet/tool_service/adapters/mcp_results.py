"""The SDK's types as the domain's."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import mcp_types as types
from mcp_types import methods

from trivet.tool_service.adapters.mcp_messages import dumped
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


def plain(raw: Mapping[str, Any], max_bytes: int) -> ToolResult | None:
    """What a call gave, where that is nothing but texts, and perhaps a structured result; None for whatever else it is."""
    content, is_error = raw.get("content"), raw.get("isError", False)
    if raw.get("resultType", "complete") != "complete" or not isinstance(content, list) or not isinstance(is_error, bool):
        return None
    texts: list[Text] = []
    for block in content:
        text = block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None
        if not isinstance(text, str):
            return None
        texts.append(Text(text))
    structured = raw.get("structuredContent")
    return _bounded(tuple(texts), structured, max_bytes, is_error=is_error)


def of_version(raw: Mapping[str, Any], version: str) -> types.CallToolResult:
    """What a call gave, in the form of one version of the protocol. Raises ValidationError if it has another one."""
    with suppress(KeyError):  # a version that the SDK takes, and has no forms of
        methods.validate_server_result("tools/call", version, dict(raw))
    return types.CallToolResult.model_validate(raw, by_name=False)


def result(found: types.CallToolResult, max_bytes: int) -> ToolResult:
    """What a call gave; a failed result in its place if it is larger than `max_bytes`."""
    content = tuple(_content(block) for block in found.content)
    return _bounded(content, found.structured_content, max_bytes, is_error=bool(found.is_error))


def _bounded(content: tuple[Content, ...], structured: Any, max_bytes: int, *, is_error: bool) -> ToolResult:
    text = _json(structured) if structured is not None else None
    size = len(text or "") + sum([_size(piece) for piece in content])
    if size > max_bytes:
        return ToolResult.failure(f"The result has {size} bytes; at most {max_bytes} are passed on.")
    return ToolResult(content, text, is_error)


def _content(block: types.ContentBlock) -> Content:
    match block:
        case types.TextContent():
            return Text(block.text)
        case types.ImageContent() | types.AudioContent():
            return Media(block.type, block.data, block.mime_type)
        case types.ResourceLink():
            return ResourceLink(block.uri, block.name, block.description or "", block.mime_type or "")
    return Other(_json(_dump(block)))


def _size(piece: Content) -> int:
    match piece:
        case Text(text) | Other(text):
            return len(text)
        case Media(data=data):
            return len(data)
    return 0


def _dump(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _json(value: Any) -> str:
    return dumped(value).decode()
