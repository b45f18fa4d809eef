"""The MCP tools of one response: listed, named for the model, and called through ToolService."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from trivet.kernel.catalogue import http_status
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import (
    InvalidKey,
    InvalidRequest,
    McpServerNotFound,
    MissingKey,
    PermissionDenied,
    ServiceError,
)
from trivet.kernel.tools import calls
from trivet.kernel.tools.calls import ToolStub
from trivet.kernel.tools.names import ToolKey, wire_names
from trivet.model.v1.response_item_mcp_pb2 import (
    McpCall,
    McpError,
    McpFault,
    McpListTools,
    McpToolDefinition,
    McpToolError,
)
from trivet.model.v1.response_tool_pb2 import FunctionTool, Tool
from trivet.model_service.faces.responses_tools import namespaced
from trivet.model_service.responses.mcp.servers import LabelledServer
from trivet.tool.v1.tool_pb2 import Tool as ServerTool
from trivet.tool.v1.tool_pb2 import ToolContent, ToolResult

_INVALID_PARAMS: Final = -32602
"""JSON-RPC's code for a call that names no tool, or whose arguments are none."""

_REQUESTS_FAULT: Final = (InvalidRequest, McpServerNotFound, MissingKey, InvalidKey, PermissionDenied)
"""What is wrong with a request that names such a server; any other error is the server's."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A server with those of its tools that the model may call, or with why they are not known."""

    server: LabelledServer
    tools: Sequence[ServerTool]
    error: ServiceError | None = None


class McpTools:
    """Opens the tools of responses over a stub of ToolService."""

    def __init__(self, stub: ToolStub) -> None:
        self._stub = stub

    async def open(
        self, tools: Sequence[Tool], servers: Sequence[LabelledServer], known: Mapping[str, McpListTools]
    ) -> "Toolset":
        """The MCP tools among the `tools` of a request, of which these are the `servers`.

        A server that cannot be asked now keeps the tools under which the conversation knows it (`known`, by label), or
        else has none.

        Raises:
            InvalidRequest: ToolService finds fault with how a server is described.
            AddressRefused, McpServerNotFound: a server may not be reached, or there is none.
        """
        return Toolset(self._stub, tools, await self._listings(servers, known))

    async def _listings(self, servers: Sequence[LabelledServer], known: Mapping[str, McpListTools]) -> Sequence[Listing]:
        if len(servers) == 1:
            return [await self._listing(servers[0], known.get(servers[0].label))]
        listing = [asyncio.create_task(self._listing(server, known.get(server.label))) for server in servers]
        try:
            return await asyncio.gather(*listing)
        finally:
            for task in listing:
                task.cancel()

    async def _listing(self, server: LabelledServer, known: McpListTools | None) -> Listing:
        try:
            return Listing(server, server.allowed((await calls.list_tools(self._stub, server.ref)).data))
        except _REQUESTS_FAULT as error:
            raise server.at_fault(error) from None
        except ServiceError as error:
            if known is not None:
                return Listing(server, server.allowed(map(_from_definition, known.tools)))
            return Listing(server, (), server.at_fault(error))


class Toolset:
    """The MCP tools of a response; `listings` has its servers in the order of the request."""

    def __init__(self, stub: ToolStub | None, tools: Sequence[Tool], listings: Sequence[Listing]) -> None:
        self._stub = stub
        self._given = tools
        self.listings = listings
        self._by_label = {listing.server.label: listing for listing in listings}
        keys = [
            ToolKey(index, listing.server.label, tool.name) for index, listing in enumerate(listings) for tool in listing.tools
        ]
        self._offered = wire_names(keys, taken=set(_own_names(tools)))
        self.names: Mapping[tuple[str, str], str] = {(key.server, key.tool): name for name, key in self._offered.items()}
        """The label of a server and the name of its tool -> the name under which the model is offered it."""
        self._definitions: list[Tool] | None = None

    @classmethod
    def none(cls, tools: Sequence[Tool]) -> "Toolset":
        """No MCP tools; `tools` are those of the request."""
        return cls(None, tools, ())

    def names_of(self, label: str, tool: str = "") -> list[str]:
        """The names under which the model is offered the tools of a server, or this one of them."""
        return [name for (server, own), name in self.names.items() if server == label and tool in {"", own}]

    def listing(self, label: str) -> Listing | None:
        """The server with this label."""
        return self._by_label.get(label)

    def definitions(self) -> list[Tool]:
        """The tools of the request, with functions in the place of its servers."""
        if self._definitions is not None:
            return self._definitions
        found: list[Tool] = []
        for tool in self._given:
            if not tool.HasField("mcp"):
                found.append(tool)
            elif listing := self._by_label.get(tool.mcp.server_label):
                found += [self._definition(listing.server, own) for own in listing.tools]
        # Not before it is whole.
        self._definitions = found
        return found

    def origin(self, name: str) -> tuple[str, str]:
        """The label of the server and the own name of a tool by the name that the model has called.

        For a name that nobody offered it is the name itself, and whatever server comes first.
        """
        if name not in self._offered:
            return self.listings[0].server.label, name
        key = self._offered[name]
        return key.server, key.tool

    def needs_approval(self, label: str, name: str) -> bool:
        """Whether a person must allow a call of this tool."""
        listing, tool = self._find(label, name)
        return listing is not None and tool is not None and listing.server.needs_approval(tool)

    async def call(self, call: McpCall) -> McpCall:
        """The call with what came of it: its output, or why there is none."""
        listing, tool = self._find(call.server_label, call.name)
        if listing is None or tool is None or self._stub is None:
            names = ", ".join(self._offered) or "none"
            return _faulty(call, _INVALID_PARAMS, f"There is no tool `{call.name}`. Available tools: {names}.")
        try:
            result = await calls.call_tool(self._stub, listing.server.ref, tool.name, call.arguments)
        except InvalidRequest as error:
            return _faulty(call, _INVALID_PARAMS, error.message)
        except ServiceError as error:
            fault = McpFault(code=http_status(error), message=error.message)
            return failed(call, McpError(http_error=fault))
        return failed(call, _tool_error(result)) if result.is_error else _completed(call, calls.result_text(result))

    def _find(self, label: str, name: str) -> tuple[Listing | None, ServerTool | None]:
        listing = self._by_label.get(label)
        for tool in listing.tools if listing is not None else ():
            if tool.name == name:
                return listing, tool
        return listing, None

    def _definition(self, server: LabelledServer, tool: ServerTool) -> Tool:
        what = filter(None, (server.given.server_description, tool.description or tool.title))
        return Tool(
            function=FunctionTool(
                name=self.names[server.label, tool.name],
                description="\n\n".join(what) or None,
                parameters=tool.input_schema or '{"type":"object"}',
                # Said, because a Responses API takes functions to be strict, and the schemas of servers seldom are.
                strict=False,
            )
        )


def definition(tool: ServerTool) -> McpToolDefinition:
    """A tool as an item lists it."""
    return McpToolDefinition(
        name=tool.name,
        description=tool.description or tool.title or None,
        input_schema=tool.input_schema or '{"type":"object"}',
        annotations=tool.annotations or None,
    )


def failed(call: McpCall, error: McpError) -> McpCall:
    """A call that failed so."""
    return _ended(call, "failed", error=error)


def tool_failure(said: str) -> McpError:
    """The error of a call that was not made."""
    return McpError(tool_execution_error=McpToolError(content=orjson.dumps([{"type": "text", "text": said}]).decode()))


def _from_definition(tool: McpToolDefinition) -> ServerTool:
    return ServerTool(
        name=tool.name, description=tool.description or None, input_schema=tool.input_schema, annotations=tool.annotations or None
    )


def _own_names(tools: Sequence[Tool]) -> list[str]:
    named = [tool.function.name or tool.custom.name for tool in tools]
    return [*filter(None, named), *namespaced(tools)]


def _completed(call: McpCall, output: str) -> McpCall:
    return _ended(call, "completed", output=output)


def _faulty(call: McpCall, code: int, message: str) -> McpCall:
    return failed(call, McpError(protocol_error=McpFault(code=code, message=message)))


def _tool_error(result: ToolResult) -> McpError:
    codec = codec_for(ToolContent)
    content = b"[" + b",".join(codec.dumps(piece) for piece in result.content) + b"]"
    return McpError(tool_execution_error=McpToolError(content=content.decode()))


def _ended(call: McpCall, status: str, *, output: str | None = None, error: McpError | None = None) -> McpCall:
    ended = McpCall()
    ended.CopyFrom(call)
    ended.status = status
    if output is not None:
        ended.output = output
    if error is not None:
        ended.error.CopyFrom(error)
    return ended
