"""Protobuf and domain, either way."""

from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

from trivet.kernel.errors import InvalidRequest
from trivet.tool.v1 import tool_pb2, tool_service_pb2
from trivet.tool_service.domain.pool import ServerState
from trivet.tool_service.domain.targets import Target
from trivet.tool_service.domain.tools import Event, Media, Other, Progress, ResourceLink, Text, Tool, ToolCall, ToolResult


def target(ref: tool_pb2.ServerRef) -> Target:
    """The server that is meant."""
    headers = ref.headers
    return Target(ref.name, ref.url, dict(headers) if headers else {}, param="server")


def call(request: tool_service_pb2.CallToolRequest) -> ToolCall:
    """The call that is asked for.

    Raises:
        InvalidRequest: the arguments are no JSON object, or it is to take less than a millisecond.
    """
    return ToolCall(request.tool, _arguments(request.arguments), _timeout(request))


def _arguments(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        # The reader that refuses what could not be sent on: lone surrogates, NaN, bottomless nesting.
        parsed = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise InvalidRequest("The arguments are not JSON.", "arguments") from None
    if not isinstance(parsed, dict):
        raise InvalidRequest("The arguments must be a JSON object.", "arguments")
    return parsed


def _timeout(request: tool_service_pb2.CallToolRequest) -> float | None:
    if not request.HasField("timeout_ms"):
        return None
    if request.timeout_ms < 1:
        raise InvalidRequest("`timeout_ms` must be at least 1.", "timeout_ms")
    return request.timeout_ms / 1000


def server(state: ServerState) -> tool_pb2.Server:
    """A registered server and how it is."""
    return tool_pb2.Server(
        name=state.server.name,
        transport=state.server.transport,
        status=state.status,
        error=state.error or None,
        protocol_version=state.protocol_version or None,
    )


def tool(found: Tool) -> tool_pb2.Tool:
    """A tool, without the fields that its server left empty."""
    return tool_pb2.Tool(
        name=found.name,
        title=found.title or None,
        description=found.description or None,
        input_schema=found.input_schema,
        output_schema=found.output_schema or None,
        annotations=found.annotations or None,
    )


def responses(event: Event) -> Iterable[tool_service_pb2.CallToolResponse]:
    """An event as the messages that tell it."""
    if isinstance(event, ToolResult):
        return (tool_service_pb2.CallToolResponse(result=result(event)),)
    return [tool_service_pb2.CallToolResponse(progress=_progress(step)) for step in event]


def _progress(step: Progress) -> tool_pb2.ToolProgress:
    return tool_pb2.ToolProgress(progress=step.progress, total=step.total, message=step.message or None)


def result(given: ToolResult) -> tool_pb2.ToolResult:
    """What a call came to."""
    told = tool_pb2.ToolResult(is_error=given.is_error, structured_content=given.structured)
    for piece in given.content:
        if isinstance(piece, Text):
            # Set where it stands, as nearly all pieces are: else it is copied on its way, more than once.
            told.content.add().text.text = piece.text
        else:
            told.content.append(_content(piece))
    return told


def _content(piece: Media | ResourceLink | Other) -> tool_pb2.ToolContent:
    match piece:
        case Media(kind, data, mime_type):
            media = tool_pb2.ToolMedia(data=data, mime_type=mime_type)
            return tool_pb2.ToolContent(image=media) if kind == "image" else tool_pb2.ToolContent(audio=media)
        case ResourceLink(uri, name, description, mime_type):
            link = tool_pb2.ToolResourceLink(uri=uri, name=name, description=description or None, mime_type=mime_type or None)
            return tool_pb2.ToolContent(resource_link=link)
        case Other(json):
            return tool_pb2.ToolContent(unknown=json)
