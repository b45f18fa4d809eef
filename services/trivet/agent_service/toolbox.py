"""The tools of a run: which there are, under which names the model sees them, and how they are called through ToolService."""

import asyncio
from collections.abc import Mapping, Sequence

from trivet.agent.v1 import agent_service_pb2
from trivet.content.v1 import chat_tool_pb2
from trivet.kernel.errors import ServiceError, ToolNotFound
from trivet.kernel.loop import ToolCall, ToolOutcome
from trivet.kernel.tools import calls, text
from trivet.kernel.tools.calls import ToolStub
from trivet.kernel.tools.names import ToolKey, wire_names
from trivet.tool.v1 import tool_pb2


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
        key, _ = self._offered[call.name]
        try:
            async with self._free:
                result = await calls.call_tool(self._stub, self._servers[key.server_index], key.tool, call.arguments)
        except ServiceError as error:
            return _failed(error.message)
        return ToolOutcome(calls.result_text(result), is_error=result.is_error)


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
        return await calls.list_tools(stub, ref)
    except ServiceError as error:
        raise _at(index, error) from None


# ToolService names the fields of its own request; the caller knows those of the agent request.
_FIELDS = {"server.name": "integration_fqn", "server.url": "url", "server.headers": "headers"}


def _at(index: int, error: ServiceError) -> ServiceError:
    path = f"mcp_servers[{index}]"
    field = _FIELDS.get(error.param, "")
    error.param = f"{path}.{field}" if field else path
    return error


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


def _failed(message: str) -> ToolOutcome:
    return ToolOutcome(text.failure(message), is_error=True)
