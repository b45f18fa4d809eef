"""The tools of a Responses request, and the choice among them, as a turn has them."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import orjson

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model.v1 import response_tool_pb2 as pb
from trivet.model_service.domain.turn import CustomTool, FunctionTool, Tool, ToolChoice

AMBIENT: Final = frozenset(
    {
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "image_generation",
        "local_shell",
        "shell",
        "apply_patch",
        "tool_search",
        "unknown",
    }
)
"""Tools that coding agents offer with every request, whichever the model: a model that lacks them gets along without.

The others bring something of the caller's along - a server, files, a screen - that the answer is meant to rest on.
"""

_MODES: Final[dict[str, Literal["auto", "required", "none"]]] = {"auto": "auto", "required": "required", "none": "none"}


def read_tools(tools: Sequence[pb.Tool]) -> tuple[Tool, ...]:
    """The tools that any model can be given.

    Raises:
        UnsupportedParameter: a tool that only certain providers run, and that the request is about.
        InvalidRequest: a tool without a name.
    """
    return tuple(_read(tools, "tools", pb.NamespaceTool()))


def read_choice(choice: pb.ToolChoice, tools: Sequence[Tool]) -> ToolChoice:
    """The choice among `tools`.

    Raises:
        UnsupportedParameter: what is chosen is not among the tools that any model can be given.
        InvalidRequest: a mode that does not exist.
    """
    if choice.WhichOneof("choice") == "mode":
        if choice.mode not in _MODES:
            raise InvalidRequest("Invalid 'tool_choice': expected 'none', 'auto', 'required' or an object.", "tool_choice")
        if choice.mode == "required" and not tools:
            raise _not_choosable()
        return ToolChoice(_MODES[choice.mode])
    option = choice.option
    match option.WhichOneof("option"):
        case "function":
            return ToolChoice("required", "named", (option.function.name,), "function")
        case "custom":
            return ToolChoice("required", "named", (option.custom.name,), "custom")
        case "allowed_tools":
            return _allowed(option.allowed_tools, tools)
        case _:
            raise _not_choosable()


def namespaced(tools: Sequence[pb.Tool]) -> dict[str, tuple[str, str]]:
    """The name that a model is told for each tool in a namespace -> the namespace and the tool's own name."""
    found: dict[str, tuple[str, str]] = {}
    for given in tools:
        if given.HasField("namespace"):
            space = given.namespace
            for tool in space.tools:
                if name := tool.function.name or tool.custom.name:
                    found[flat_name(space.name, name)] = space.name, name
    return found


def flat_name(namespace: str, name: str) -> str:
    """What a model is told of a tool in a namespace, which models of other providers don't know."""
    return f"{namespace}__{name}" if namespace else name


def _read(tools: Sequence[pb.Tool], path: str, space: pb.NamespaceTool) -> Iterator[Tool]:
    for index, tool in enumerate(tools):
        param = f"{path}[{index}]"
        match tool.WhichOneof("tool"):
            case "function":
                yield _function(tool.function, param, space)
            case "custom":
                yield _custom(tool.custom, param, space)
            case "namespace" if not space.name:
                yield from _read(tool.namespace.tools, f"{param}.tools", tool.namespace)
            case kind if kind not in AMBIENT:
                raise UnsupportedParameter(f"This model's provider has no tools of the type `{kind}`.", param)


def _function(tool: pb.FunctionTool, param: str, space: pb.NamespaceTool) -> FunctionTool:
    _refuse_foreign_callers(tool, param)
    if tool.HasField("output_schema"):
        where = f"{param}.output_schema"
        raise UnsupportedParameter(f"This model's provider cannot be told '{where}'.", where)
    return FunctionTool(
        name=flat_name(space.name, _named(tool.name, param)),
        description=_described(tool.description, space),
        parameters=tool.parameters,
        strict=tool.strict if tool.HasField("strict") else None,
    )


def _custom(tool: pb.CustomTool, param: str, space: pb.NamespaceTool) -> CustomTool:
    _refuse_foreign_callers(tool, param)
    name = flat_name(space.name, _named(tool.name, param))
    return CustomTool(name=name, description=_described(tool.description, space), format=_format(tool.format), param=param)


def _refuse_foreign_callers(tool: pb.FunctionTool | pb.CustomTool, param: str) -> None:
    """`async` and `defer_loading` permit what only certain providers do; a tool that only programs may call forbids."""
    if tool.allowed_callers and "direct" not in tool.allowed_callers:
        where = f"{param}.allowed_callers"
        raise UnsupportedParameter(f"This model's provider has no other callers: '{where}' needs 'direct'.", where)


def _described(description: str, space: pb.NamespaceTool) -> str:
    """What a model is told of a tool; what its namespace is for is told with each of its tools."""
    return "\n\n".join(filter(None, (space.description, description)))


def _format(form: pb.CustomToolFormat) -> str:
    """The form in the shape that a turn has it in, which is that of chat completions."""
    match form.WhichOneof("format"):
        case "grammar":
            grammar = {"definition": form.grammar.definition, "syntax": form.grammar.syntax}
            return orjson.dumps({"type": "grammar", "grammar": grammar}).decode()
        case "unknown":
            return form.unknown
        case "text":
            return codec_for(pb.CustomToolFormat).dumps(form).decode()
        case None:
            return ""


def _allowed(allowed: pb.AllowedTools, tools: Sequence[Tool]) -> ToolChoice:
    named = tuple(name for tool in allowed.tools if (name := tool.function.name or tool.custom.name))
    customs = {tool.name for tool in tools if isinstance(tool, CustomTool)}
    functions = {tool.name for tool in tools if isinstance(tool, FunctionTool)}
    if not named:
        raise _not_choosable()
    for name in named:
        if name not in customs | functions:
            raise InvalidRequest(f"Invalid 'tool_choice.tools': 'tools' has no tool '{name}'.", "tool_choice.tools")
    mode: Literal["auto", "required"] = "required" if allowed.mode == "required" else "auto"
    return ToolChoice(mode, "allowed", named, "custom" if customs.issuperset(named) else "function")


def _named(name: str, param: str) -> str:
    if not name:
        raise InvalidRequest(f"Missing required parameter: '{param}.name'.", f"{param}.name")
    return name


def _not_choosable() -> UnsupportedParameter:
    return UnsupportedParameter("This model's provider cannot be told to choose this tool.", "tool_choice")
