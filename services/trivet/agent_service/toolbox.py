"""The tools of a run: which there are, under which names the model sees them, and how they are called through ToolService."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NoReturn

import grpc
import orjson

from trivet.agent.v1 import agent_service_pb2
from trivet.agent_service.domain import tool_text
from trivet.agent_service.domain.tool_names import ToolKey, wire_names
from trivet.content.v1 import chat_tool_pb2
from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.errors import ServiceError, ToolNotFound
from trivet.kernel.loop import ToolCall, ToolOutcome
from trivet.tool.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc

ToolStub = tool_service_pb2_grpc.ToolServiceStub


class RunTools:
    """The tools of one run. Make it with `gather`."""

    def __init__(
        self,
        stub: ToolStub,
        servers: Sequence[tool_pb2.ServerRef],
        offered: Mapping[str, tuple[ToolKey, tool_pb2.Tool]],
        parallel: int,
    ) -> None:
        self._stub = stub
        self._servers = servers
        self._offered = offered
        self._free = asyncio.Semaphore(parallel)

    def definitions(self) -> list[chat_tool_pb2.ChatTool]:
        """The tools as they are offered to the model."""
        return [_definition(name, tool) for name, (_, tool) in self._offered.items()]

    def info(self, name: str) -> chat_tool_pb2.ToolInfo | None:
        """The server and the tool behind a name on the wire, None for a name that was not offered."""
        if name not in self._offered:
            return None
        key, _ = self._offered[name]
        return chat_tool_pb2.ToolInfo(mcp_server=key.server, tool=key.tool)

    async def call(self, call: ToolCall) -> ToolOutcome:
        """Run a call. Whatever goes wrong becomes an outcome that the model can read."""
        if call.name not in self._offered:
            names = ", ".join(self._offered) or "none"
            return _failed(f"There is no tool `{call.name}`. Available tools: {names}.")
        arguments = call.arguments.strip() or "{}"
        if not _is_object(arguments):
            return _failed(f"The arguments are not a JSON object: {arguments[:100]}")
        key, _ = self._offered[call.name]
        request = tool_service_pb2.CallToolRequest(server=self._servers[key.server_index], tool=key.tool, arguments=arguments)
        async with self._free:
            return await self._called(request)

    async def _called(self, request: tool_service_pb2.CallToolRequest) -> ToolOutcome:
        stream = self._stub.CallTool(request)
        outcome = _failed("The tool gave no result.")
        try:
            # To the end of the stream: leaving after the result would make a finished call a cancelled one.
            async for message in stream:
                if message.HasField("result"):
                    outcome = _outcome(message.result)
        except grpc.aio.AioRpcError as error:
            return _failed(from_rpc_error(error).message)
        finally:
            stream.cancel()
        return outcome


async def gather(
    stub: ToolStub,
    servers: Sequence[agent_service_pb2.McpServer],
    registered_headers: Mapping[str, Mapping[str, str]],
    parallel: int,
) -> RunTools:
    """List the tools of all servers of a request, at once, and name them for the model.

    `registered_headers`: server name -> headers, for registered servers; headers in the request go before them. Raises the
    error of the first server that has one, with the path of the field that names it.
    """
    refs = [_ref(server, registered_headers) for server in servers]
    listings = [asyncio.create_task(_listed(stub, index, ref)) for index, ref in enumerate(refs)]
    try:
        listed = await asyncio.gather(*listings)
    finally:
        for listing in listings:
            listing.cancel()
    tools: dict[ToolKey, tool_pb2.Tool] = {}
    for index, (server, found) in enumerate(zip(servers, listed, strict=True)):
        name = server.integration_fqn or server.url
        for tool in _enabled(index, server, found):
            tools[ToolKey(index, name, tool.name)] = tool
    offered = {name: (key, tools[key]) for name, key in wire_names(tools).items()}
    return RunTools(stub, refs, offered, parallel)


def _ref(server: agent_service_pb2.McpServer, registered_headers: Mapping[str, Mapping[str, str]]) -> tool_pb2.ServerRef:
    if server.integration_fqn:
        headers = {**registered_headers.get(server.integration_fqn, {}), **server.headers}
        return tool_pb2.ServerRef(name=server.integration_fqn, headers=headers)
    return tool_pb2.ServerRef(url=server.url, headers=server.headers)


async def _listed(stub: ToolStub, index: int, ref: tool_pb2.ServerRef) -> Sequence[tool_pb2.Tool]:
    try:
        response = await stub.ListTools(tool_service_pb2.ListToolsRequest(server=ref))
    except grpc.aio.AioRpcError as error:
        _raise_at(index, from_rpc_error(error))
    return response.data


# ToolService names the fields of its own request; the caller knows those of the agent request.
_FIELDS = {"server.name": "integration_fqn", "server.url": "url", "server.headers": "headers"}


def _raise_at(index: int, error: ServiceError) -> NoReturn:
    path = f"mcp_servers[{index}]"
    field = _FIELDS.get(error.param, "")
    error.param = f"{path}.{field}" if field else path
    raise error


def _enabled(index: int, server: agent_service_pb2.McpServer, found: Sequence[tool_pb2.Tool]) -> Sequence[tool_pb2.Tool]:
    """The tools that the request lets the model call, each of those it names being there."""
    by_name = {tool.name: tool for tool in found}
    for position, wanted in enumerate(server.tools):
        if wanted.name not in by_name:
            has = ", ".join(by_name) or "none"
            raise ToolNotFound(
                f"The MCP server has no tool `{wanted.name}`. It has: {has}.",
                f"mcp_servers[{index}].tools[{position}].name",
            )
    everything = server.enable_all_tools if server.HasField("enable_all_tools") else not server.tools
    if everything:
        return list(by_name.values())
    return [by_name[name] for name in dict.fromkeys(wanted.name for wanted in server.tools)]


def _definition(name: str, tool: tool_pb2.Tool) -> chat_tool_pb2.ChatTool:
    function = chat_tool_pb2.FunctionDefinition(name=name, parameters=tool.input_schema or '{"type":"object"}')
    if tool.description or tool.title:
        function.description = tool.description or tool.title
    return chat_tool_pb2.ChatTool(function=chat_tool_pb2.ChatFunctionTool(function=function))


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except ValueError:
        return False


def _failed(message: str) -> ToolOutcome:
    return ToolOutcome(tool_text.failure(message), is_error=True)


def _outcome(result: tool_pb2.ToolResult) -> ToolOutcome:
    structured = result.structured_content if result.HasField("structured_content") else None
    text = tool_text.result([_text(piece) for piece in result.content], structured, is_error=result.is_error)
    return ToolOutcome(text, is_error=result.is_error)


def _text(piece: tool_pb2.ToolContent) -> str:
    match piece.WhichOneof("content"):
        case "text":
            return piece.text.text
        case "image" | "audio" as kind:
            media: tool_pb2.ToolMedia = getattr(piece, kind)
            return tool_text.not_text(kind, media.mime_type, len(media.data) * 3 // 4)
        case "resource_link":
            return f"[resource: {piece.resource_link.name}, {piece.resource_link.uri}]"
        case _:
            return _unknown(piece.unknown)


def _unknown(text: str) -> str:
    """An embedded resource of text is its text; anything else is what the server sent."""
    value = orjson.loads(text) if text else {}
    resource = value.get("resource") if isinstance(value, dict) else None
    if isinstance(resource, dict) and isinstance(resource.get("text"), str):
        return str(resource["text"])
    if isinstance(resource, dict) and isinstance(resource.get("blob"), str):
        size = len(resource["blob"]) * 3 // 4
        return tool_text.not_text("resource", str(resource.get("mimeType", "application/octet-stream")), size)
    return text
