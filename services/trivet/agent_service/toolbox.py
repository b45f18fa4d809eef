"""The tools of a run: which there are, and how they are called through ToolService."""

import asyncio
from collections.abc import Mapping, Sequence

from trivet.agent.v1 import agent_service_pb2
from trivet.agent_service.offers import Offer, Offers
from trivet.kernel.errors import ServiceError
from trivet.kernel.loop import ToolCall, ToolOutcome
from trivet.kernel.tools import calls, text
from trivet.kernel.tools.calls import ToolStub
from trivet.tool.v1 import tool_pb2, tool_service_pb2


class RunTools:
    """The tools of one run. Make it with `gather`."""

    def __init__(self, stub: ToolStub, servers: Sequence[tool_pb2.ServerRef], offer: Offer) -> None:
        self._stub = stub
        self._servers = servers
        self.offer = offer

    async def call(self, call: ToolCall) -> ToolOutcome:
        """Run a call. Whatever goes wrong becomes an outcome that the model can read."""
        key = self.offer.keys.get(call.name)
        if key is None:
            names = ", ".join(self.offer.keys) or "none"
            return _failed(f"There is no tool `{call.name}`. Available tools: {names}.")
        try:
            result = await calls.call_tool(self._stub, self._servers[key.server_index], key.tool, call.arguments)
        except ServiceError as error:
            return _failed(error.message)
        return ToolOutcome(calls.result_text(result), is_error=result.is_error)


class ToolBoxes:
    """Opens the tools of runs over a stub of ToolService."""

    def __init__(self, stub: ToolStub) -> None:
        self._stub = stub
        self._offers = Offers()

    async def gather(
        self, servers: Sequence[agent_service_pb2.McpServer], registered_headers: Mapping[str, Mapping[str, str]]
    ) -> RunTools:
        """List the tools of all servers of a request, at once, and name them for the model.

        `registered_headers`: server name -> headers, for registered servers; headers in the request go before them. Raises the
        error of the first server that has one, with the path of the field that names it.
        """
        refs = [_ref(server, registered_headers) for server in servers]
        # One, as most runs have, is asked without a task.
        listed = [await _listed(self._stub, 0, refs[0])] if len(refs) == 1 else await self._listed(refs)
        return RunTools(self._stub, refs, self._offers.of(servers, listed))

    async def _listed(self, refs: Sequence[tool_pb2.ServerRef]) -> Sequence[tool_service_pb2.ListToolsResponse]:
        listings = [asyncio.create_task(_listed(self._stub, index, ref)) for index, ref in enumerate(refs)]
        try:
            return await asyncio.gather(*listings)
        finally:
            for listing in listings:
                listing.cancel()


def _ref(server: agent_service_pb2.McpServer, registered_headers: Mapping[str, Mapping[str, str]]) -> tool_pb2.ServerRef:
    name = server.integration_fqn
    ref = tool_pb2.ServerRef(name=name) if name else tool_pb2.ServerRef(url=server.url)
    if name and (registered := registered_headers.get(name)):
        ref.headers.update(registered)
    if given := server.headers:
        ref.headers.update(given)
    return ref


async def _listed(stub: ToolStub, index: int, ref: tool_pb2.ServerRef) -> tool_service_pb2.ListToolsResponse:
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


def _failed(message: str) -> ToolOutcome:
    return ToolOutcome(text.failure(message), is_error=True)
