"""Calls of tools through ToolService, and their results as a model reads them."""

import grpc
import orjson

from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.errors import InvalidRequest
from trivet.kernel.tools import text
from trivet.tool.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc

ToolStub = tool_service_pb2_grpc.ToolServiceStub


async def list_tools(stub: ToolStub, server: tool_pb2.ServerRef) -> tool_service_pb2.ListToolsResponse:
    """The tools of a server, which others may be given, too. Raises what ToolService answers."""
    try:
        return await stub.ListTools(tool_service_pb2.ListToolsRequest(server=server))
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def call_tool(stub: ToolStub, server: tool_pb2.ServerRef, tool: str, arguments: str) -> tool_pb2.ToolResult:
    """The result of a call; `arguments` is JSON text as a model wrote it, nothing standing for `{}`.

    Raises:
        InvalidRequest: the arguments are no JSON object, and nothing was called.
        ServiceError: what ToolService answers.
    """
    given = arguments.strip() or "{}"
    if not _is_object(given):
        raise InvalidRequest(f"The arguments are not a JSON object: {given[:100]}")
    try:
        return await stub.RunTool(tool_service_pb2.CallToolRequest(server=server, tool=tool, arguments=given))
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


def result_text(result: tool_pb2.ToolResult) -> str:
    """What a model reads of a result."""
    structured = result.structured_content if result.HasField("structured_content") else None
    return text.result([piece_text(piece) for piece in result.content], structured, is_error=result.is_error)


def piece_text(piece: tool_pb2.ToolContent) -> str:
    """What a model reads of a piece of a result."""
    match piece.WhichOneof("content"):
        case "text":
            return piece.text.text
        case "image" | "audio" as kind:
            media: tool_pb2.ToolMedia = getattr(piece, kind)
            return text.not_text(kind, media.mime_type, len(media.data) * 3 // 4)
        case "resource_link":
            return f"[resource: {piece.resource_link.name}, {piece.resource_link.uri}]"
        case _:
            return _unknown(piece.unknown)


def _is_object(arguments: str) -> bool:
    try:
        return isinstance(orjson.loads(arguments), dict)
    except ValueError:
        return False


def _unknown(raw: str) -> str:
    """An embedded resource of text is its text; anything else is what the server sent."""
    value = orjson.loads(raw) if raw else {}
    resource = value.get("resource") if isinstance(value, dict) else None
    if isinstance(resource, dict) and isinstance(resource.get("text"), str):
        return str(resource["text"])
    if isinstance(resource, dict) and isinstance(resource.get("blob"), str):
        size = len(resource["blob"]) * 3 // 4
        return text.not_text("resource", str(resource.get("mimeType", "application/octet-stream")), size)
    return raw
