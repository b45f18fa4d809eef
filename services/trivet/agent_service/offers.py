"""What a model is offered of the tools of MCP servers: made once for each list, however many runs there are."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Final, Generic, TypeVar

from trivet.agent.v1 import agent_service_pb2
from trivet.content.v1 import chat_tool_pb2
from trivet.kernel.errors import ToolNotFound
from trivet.kernel.tools.names import ToolKey, wire_names
from trivet.tool.v1 import tool_pb2, tool_service_pb2

V = TypeVar("V")

Listed = tool_service_pb2.ListToolsResponse

_MOST_REMEMBERED: Final = 64


class Offer:
    """Tools under the names that the model sees. It serves many runs, so nobody changes what is in it."""

    def __init__(self, tools: Mapping[str, tuple[ToolKey, tool_pb2.Tool]]) -> None:
        self.keys = {name: key for name, (key, _) in tools.items()}
        """Where each tool lives."""

        self.infos = {name: chat_tool_pb2.ToolInfo(mcp_server=key.server, tool=key.tool) for name, key in self.keys.items()}
        """The same, as callers are told it."""

        self.definitions = [_definition(name, tool) for name, (_, tool) in tools.items()]
        """The tools as the model is told of them."""


class Offers:
    """The offers that were made of late.

    A list of tools that has not changed is the very same message when it was told in this process, so it is looked into only where
    it is not. Over the wire it is another one each time, of the same content.
    """

    def __init__(self) -> None:
        self._made: _Recent[Offer] = _Recent()
        self._last: _Recent[tuple[Sequence[Listed], Offer]] = _Recent()

    def of(self, servers: Sequence[agent_service_pb2.McpServer], listed: Sequence[Listed]) -> Offer:
        """What `servers` of a request, which have listed these tools, offer. Raises ToolNotFound, with the path of the field."""
        asked = tuple(map(_asked, servers))
        last = self._last.get(asked)
        if last is not None and all(map(is_, last[0], listed)):
            return last[1]
        key = (asked, *(found.SerializeToString(deterministic=True) for found in listed))
        offer = self._made.get(key)
        if offer is None:
            offer = _offer(servers, listed)
            self._made.put(key, offer)
        self._last.put(asked, (listed, offer))
        return offer


class _Recent(Generic[V]):
    """What was used of late; the rest is forgotten."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[object, ...], V] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> V | None:
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def put(self, key: tuple[object, ...], found: V) -> None:
        self._found[key] = found
        if len(self._found) > _MOST_REMEMBERED:
            self._found.popitem(last=False)


def _asked(server: agent_service_pb2.McpServer) -> tuple[object, ...]:
    """All of a request that an offer depends on."""
    everything = server.enable_all_tools if server.HasField("enable_all_tools") else None
    return _name(server), everything, tuple([tool.name for tool in server.tools] if server.tools else ())


def _name(server: agent_service_pb2.McpServer) -> str:
    return server.integration_fqn or server.url


def _offer(servers: Sequence[agent_service_pb2.McpServer], listed: Sequence[Listed]) -> Offer:
    tools: dict[ToolKey, tool_pb2.Tool] = {}
    for index, (server, found) in enumerate(zip(servers, listed, strict=True)):
        for tool in _enabled(index, server, found.data):
            tools[ToolKey(index, _name(server), tool.name)] = tool
    return Offer({name: (key, tools[key]) for name, key in wire_names(tools).items()})


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
