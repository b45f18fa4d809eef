"""The choice among tools, where some of them are tools of MCP servers."""

import orjson

from trivet.kernel.errors import InvalidRequest
from trivet.model.v1.response_tool_pb2 import FunctionTool, NamedTool, Tool, ToolChoice
from trivet.model_service.responses.mcp.tools import Toolset


def first_choice(choice: ToolChoice, tools: Toolset) -> ToolChoice:
    """The choice as it is put to a model that is offered functions for `tools`.

    Raises:
        InvalidRequest: it names a server or a tool that the request does not have.
        ServiceError: it needs the tools of a server that could not be asked for them.
    """
    match choice.option.WhichOneof("option"):
        case "mcp":
            return _of_server(choice.option.mcp.server_label, choice.option.mcp.name, tools)
        case "allowed_tools":
            return _among(choice, tools)
        case _:
            if choice.mode == "required" and not tools.definitions():
                _raise_failures(tools)
            return choice


def later_choice(choice: ToolChoice) -> ToolChoice | None:
    """The choice when the model has called something: forced again, it could never answer. None: its own."""
    if choice.mode == "none":
        return choice
    if choice.option.WhichOneof("option") != "allowed_tools":
        return None
    freed = ToolChoice()
    freed.CopyFrom(choice)
    freed.option.allowed_tools.mode = "auto"
    return freed


def no_choice() -> ToolChoice:
    """No tools any more."""
    return ToolChoice(mode="none")


def _of_server(label: str, name: str, tools: Toolset) -> ToolChoice:
    names = _names_of(label, name, tools)
    chosen = ToolChoice()
    if name:
        chosen.option.function.CopyFrom(NamedTool(name=names[0]))
    else:
        chosen.option.allowed_tools.mode = "required"
        chosen.option.allowed_tools.tools.extend(map(_function, names))
    return chosen


def _among(choice: ToolChoice, tools: Toolset) -> ToolChoice:
    chosen = ToolChoice()
    chosen.CopyFrom(choice)
    allowed = chosen.option.allowed_tools
    del allowed.tools[:]
    for tool in choice.option.allowed_tools.tools:
        if not tool.HasField("mcp"):
            allowed.tools.append(tool)
            continue
        # The contract of a server among the tools has no name in it: here it comes as a key beside.
        name = str(orjson.loads(tool.mcp.extra or "{}").get("name") or "")
        allowed.tools.extend(map(_function, _names_of(tool.mcp.server_label, name, tools)))
    return chosen


def _names_of(label: str, name: str, tools: Toolset) -> list[str]:
    listing = tools.listing(label)
    if listing is None:
        raise InvalidRequest(f"Invalid 'tool_choice': 'tools' has no server labelled '{label:.80}'.", "tool_choice")
    if listing.error is not None:
        raise listing.error
    names = tools.names_of(label, name)
    if not names:
        what = f"tool '{name:.80}'" if name else "tools"
        raise InvalidRequest(f"Invalid 'tool_choice': the server '{label:.80}' offers no {what}.", "tool_choice")
    return names


def _raise_failures(tools: Toolset) -> None:
    for listing in tools.listings:
        if listing.error is not None:
            raise listing.error


def _function(name: str) -> Tool:
    return Tool(function=FunctionTool(name=name))
