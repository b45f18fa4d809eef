"""The MCP servers that a request gives to its model: which, which of their tools, and which calls a person must allow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from trivet.kernel.call import current_call
from trivet.kernel.errors import InvalidRequest, ServiceError, UnsupportedParameter
from trivet.kernel.tools.headers import registered_headers
from trivet.model.v1.response_tool_mcp_pb2 import McpTool, McpToolFilter
from trivet.model.v1.response_tool_pb2 import Tool
from trivet.model_service.faces.unknown_keys import may_hold_unknown_keys, unknown_keys
from trivet.model_service.faces.walk import joined, walk
from trivet.tool.v1.tool_pb2 import ServerRef
from trivet.tool.v1.tool_pb2 import Tool as ServerTool

_SETTINGS: Final = frozenset({"", "always", "never"})
_MOST_SERVERS: Final = 64


@dataclass(frozen=True, slots=True)
class LabelledServer:
    """A server of a request; `param` is the path of its tool there, `given` that tool, `ref` what ToolService is told."""

    label: str
    param: str
    given: McpTool
    ref: ServerRef

    def allowed(self, tools: Iterable[ServerTool]) -> list[ServerTool]:
        """Those of the server's tools that the model may call. A name that the server does not have stands for nothing."""
        selection = self.given.allowed_tools
        match selection.WhichOneof("selection"):
            case "names":
                return [tool for tool in tools if tool.name in selection.names.names]
            case "filter":
                return [tool for tool in tools if _passes(selection.filter, tool)]
            case _:
                return list(tools)

    def needs_approval(self, tool: ServerTool) -> bool:
        """Whether a person must allow each call of the tool.

        Of a filter, `always` goes before `never`; a tool in neither needs approval unless `always` is all that was said.
        """
        approval = self.given.require_approval
        if approval.WhichOneof("approval") != "filter":
            return approval.setting != "never"
        given = approval.filter
        if given.HasField("always") and _selects(given.always, tool):
            return True
        if given.HasField("never"):
            return not _selects(given.never, tool)
        return not given.HasField("always")

    def at_fault(self, error: ServiceError) -> ServiceError:
        """`error` of ToolService, with the path of what it is about in the caller's request."""
        fields = {
            "server.name": "connector_id",
            "server.url": "server_url",
            "server.headers": "headers" if self.given.headers else "authorization",
        }
        error.param = joined(self.param, fields.get(error.param, ""))
        return error


def read_servers(tools: Sequence[Tool]) -> list[LabelledServer]:
    """The servers among the tools of a request, registered ones with the headers that came for them with its call.

    `defer_loading` only permits, and is left out of account.

    Raises:
        InvalidRequest: a server without a label or an address, or with two; a label that is taken; a setting unknown;
            headers that are none; more than 64 servers.
        UnsupportedParameter: what only certain providers have: tunnels, callers other than the model, unknown keys.
    """
    call = current_call.get()
    registered = registered_headers(call.metadata) if call is not None else {}
    given = [(tool.mcp, f"tools[{index}]") for index, tool in enumerate(tools) if tool.HasField("mcp")]
    if len(given) > _MOST_SERVERS:
        raise InvalidRequest(f"Invalid 'tools': at most {_MOST_SERVERS} MCP servers can be given.", "tools")
    servers = [_read(mcp, param, registered.get(mcp.connector_id, {})) for mcp, param in given]
    labels: set[str] = set()
    for server in servers:
        where = f"{server.param}.server_label"
        if server.label in labels:
            raise InvalidRequest(f"Invalid '{where}': another server is labelled '{server.label:.80}'.", where)
        labels.add(server.label)
    return servers


def _read(given: McpTool, param: str, registered: Mapping[str, str]) -> LabelledServer:
    _refuse_unsupported(given, param)
    if not given.server_label:
        where = f"{param}.server_label"
        raise InvalidRequest(f"Missing required parameter: '{where}'.", where)
    if bool(given.server_url) == bool(given.connector_id):
        raise InvalidRequest(f"Invalid '{param}': give either 'server_url' or 'connector_id', a registered server.", param)
    if given.require_approval.setting not in _SETTINGS:
        where = f"{param}.require_approval"
        raise InvalidRequest(f"Invalid '{where}': expected 'always', 'never' or an object.", where)
    authorization = {"Authorization": f"Bearer {given.authorization}"} if given.authorization else {}
    headers = _joined(registered, given.headers, authorization)
    if given.connector_id:
        ref = ServerRef(name=given.connector_id, headers=headers)
    else:
        ref = ServerRef(url=given.server_url, headers=headers)
    return LabelledServer(given.server_label, param, given, ref)


def _joined(*headers: Mapping[str, str]) -> dict[str, str]:
    """All of these headers; a later one takes the place of an earlier one of its name, however that is written."""
    named = {name.lower(): (name, value) for some in headers if some for name, value in some.items()}
    return dict(named.values())


def _refuse_unsupported(given: McpTool, param: str) -> None:
    if given.tunnel_id:
        where = f"{param}.tunnel_id"
        raise UnsupportedParameter(f"There are no tunnels here: '{where}'.", where)
    if given.allowed_callers and "direct" not in given.allowed_callers:
        where = f"{param}.allowed_callers"
        raise UnsupportedParameter(f"There are no other callers here: '{where}' needs 'direct'.", where)
    if not may_hold_unknown_keys(given):
        return
    for message, path in walk(given):
        for name in unknown_keys(message):
            where = joined(param, joined(path, name))
            raise UnsupportedParameter(f"MCP servers cannot be given `{where}`.", where)


def _selects(given: McpToolFilter, tool: ServerTool) -> bool:
    """Whether a filter names the tool; one that says nothing names none."""
    return bool(given.tool_names or given.HasField("read_only")) and _passes(given, tool)


def _passes(given: McpToolFilter, tool: ServerTool) -> bool:
    if given.tool_names and tool.name not in given.tool_names:
        return False
    return not given.HasField("read_only") or given.read_only == _is_read_only(tool)


def _is_read_only(tool: ServerTool) -> bool:
    hints = orjson.loads(tool.annotations or "{}")
    return isinstance(hints, dict) and hints.get("readOnlyHint") is True
