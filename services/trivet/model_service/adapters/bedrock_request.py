"""A turn as the body of a Converse request."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
from orjson import Fragment

from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model_service.adapters.bedrock_content import Blocks
from trivet.model_service.adapters.bedrock_events import DIALECT, REDACTED
from trivet.model_service.domain.seals import is_seal, open_seal
from trivet.model_service.domain.turn import (
    CustomTool,
    Entry,
    HostedTool,
    Message,
    Reasoning,
    TextFormat,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    TurnRequest,
)

Json = dict[str, Any]

_UNKNOWN: Final = (
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logprobs",
    "top_logprobs",
    "verbosity",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)
_CONVERSE: Final = frozenset({"guardrailConfig", "performanceConfig", "promptVariables", "projectIdentifier"})
"""Extra parameters that are Converse's own; all others are the model's."""

_MODEL_FIELDS: Final = "additionalModelRequestFields"
_REFUSED: Final = frozenset(
    {
        "messages", "system", "inferenceConfig", "toolConfig", "outputConfig", "serviceTier", "requestMetadata",
        "store", "prompt_cache_retention", "prompt_cache_options", "max_tokens", "max_completion_tokens",
    }
)  # fmt: skip
"""What a turn says by fields of its own, and what OpenAI keeps: no model has a parameter of such a name."""

_NO_PARAMETERS: Final = Fragment('{"type":"object","properties":{}}')


def converse_body(request: TurnRequest) -> Json:
    """The JSON body that asks for `request`; model and streaming are in the path.

    Raises:
        UnsupportedParameter: there is no way to ask for it.
        InvalidRequest: a call's arguments or a file are not what they have to be.
    """
    _refuse_the_inexpressible(request)
    system, messages = _conversation(request.conversation)
    given: Json = {
        "system": system,
        "messages": messages,
        "inferenceConfig": _inference(request),
        "toolConfig": _tool_config(request),
        "outputConfig": _output(request),
        "serviceTier": None if request.service_tier in (None, "auto") else {"type": request.service_tier},
        "requestMetadata": dict(request.metadata),
    }
    body = {name: value for name, value in given.items() if value}
    return body | _extra(request, body)


def counted(body: Json) -> Json:
    """The part of a body that brings tokens, as the API for counting them has it."""
    return {"input": {"converse": {name: body[name] for name in ("messages", "system", "toolConfig") if name in body}}}


def _refuse_the_inexpressible(request: TurnRequest) -> None:
    for name in _UNKNOWN:
        value = getattr(request, name)
        if value is not None and value is not False:
            raise UnsupportedParameter("This model's provider cannot be asked for this.", request.param(name))
    if request.parallel_tool_calls is False:
        raise UnsupportedParameter("This model's provider cannot be held to one call at a time.", "parallel_tool_calls")
    if request.reasoning_summary not in {None, "auto"}:
        raise UnsupportedParameter("This model's provider writes no reasoning summaries.", request.reasoning_summary_param)


# ---- parameters ----------------------------------------------------------------------------------------------------


def _inference(request: TurnRequest) -> Json:
    given = {
        "maxTokens": request.max_output_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _output(request: TurnRequest) -> Json:
    given = {"effort": request.reasoning_effort, "textFormat": _text_format(request.text_format, request)}
    return {name: value for name, value in given.items() if value is not None}


def _text_format(wanted: TextFormat | None, request: TurnRequest) -> Json | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        raise UnsupportedParameter("This model's provider writes JSON only by a schema.", request.param("text_format"))
    known = {"schema": wanted.schema or "{}", "name": wanted.name, "description": wanted.description}
    schema = {name: value for name, value in known.items() if value}
    return {"type": "json_schema", "structure": {"jsonSchema": schema}}


def _extra(request: TurnRequest, body: Json) -> Json:
    """Converse's own extra parameters, and those of the model below `additionalModelRequestFields`."""
    own: Json = {}
    model: Json = {} if request.top_k is None else {"top_k": request.top_k}
    for name, raw in request.extra.items():
        if name in _REFUSED:
            if (name, raw) != ("store", "false"):
                raise UnsupportedParameter(f"This model's provider cannot be asked for `{name}`.", name)
        elif name == "cache_control":
            _cache(body, orjson.loads(raw))
        elif name == _MODEL_FIELDS:
            model |= _object(raw, name)
        elif name in _CONVERSE:
            own[name] = Fragment(raw)
        else:
            model[name] = Fragment(raw)
    return own | ({_MODEL_FIELDS: model} if model else {})


def _object(raw: str, name: str) -> Json:
    parsed = orjson.loads(raw)
    if not isinstance(parsed, dict):
        raise InvalidRequest(f"`{name}` is an object.", name)
    return parsed


def _cache(body: Json, wanted: object) -> None:
    """Has the prompt cached up to the end of the system's messages and of the conversation, and with them the tools."""
    if not isinstance(wanted, dict) or wanted.get("type") != "ephemeral" or wanted.keys() - {"type", "ttl"}:
        raise InvalidRequest('A prompt is cached by {"type": "ephemeral"}, with a `ttl` or without.', "cache_control")
    point = {"cachePoint": {"type": "default"} | ({"ttl": wanted["ttl"]} if "ttl" in wanted else {})}
    for blocks in (body.get("system"), body["messages"][-1]["content"] if body.get("messages") else None):
        if blocks:
            blocks.append(point)


# ---- tools ---------------------------------------------------------------------------------------------------------


def _tool_config(request: TurnRequest) -> Json:
    choice = request.tool_choice or ToolChoice()
    tools: Sequence[Tool] = request.tools
    if choice.kind == "hosted" or choice.tool_kind == "custom":
        raise UnsupportedParameter("This model's provider cannot be told to choose this tool.", "tool_choice")
    if choice.kind == "allowed":
        tools = [tool for tool in tools if not isinstance(tool, HostedTool) and tool.name in choice.names]
    if choice.mode == "none" and choice.kind != "named":
        if tools and any(isinstance(entry, ToolCall | ToolResult) for entry in request.conversation):
            # It refuses calls in a conversation without the tools, and has no word for `none`.
            raise UnsupportedParameter("This model's provider cannot be kept from calling tools once it has.", "tool_choice")
        return {}
    if not tools:
        if choice.mode == "required":
            raise UnsupportedParameter("There is no tool that could be called.", "tool_choice")
        return {}
    found: Json = {"tools": [_tool(tool) for tool in tools]}
    if choice.kind == "named":
        found["toolChoice"] = {"tool": {"name": choice.names[0]}}
    elif request.tool_choice is not None:
        found["toolChoice"] = {"any": {}} if choice.mode == "required" else {"auto": {}}
    return found


def _tool(tool: Tool) -> Json:
    if isinstance(tool, HostedTool):
        raise UnsupportedParameter(f"This model's provider has no tools of the type `{tool.type}`.", tool.param)
    if isinstance(tool, CustomTool):
        raise UnsupportedParameter("This model's provider has no custom tools.", tool.param)
    known: Json = {"name": tool.name, "inputSchema": {"json": Fragment(tool.parameters) if tool.parameters else _NO_PARAMETERS}}
    if tool.description:
        known["description"] = tool.description
    if tool.strict is not None:
        known["strict"] = tool.strict
    return {"toolSpec": known}


def _no_custom_tools(param: str) -> UnsupportedParameter:
    return UnsupportedParameter("This model's provider has no tools with free text input.", param)


# ---- the conversation ----------------------------------------------------------------------------------------------


def _conversation(conversation: Sequence[Entry]) -> tuple[list[Json], list[Json]]:
    """The system's blocks, and the messages: what follows each other in one role is one message.

    What the system says after the conversation has begun stays in its place, as a message in the role `system`.
    """
    blocks = Blocks()
    system: list[Json] = []
    messages: list[Json] = []
    for entry in conversation:
        role, said = _role(entry), list(_said(entry, blocks))
        if role == "system" and not messages:
            system += said
        elif messages and messages[-1]["role"] == role:
            messages[-1]["content"] += said
        elif said:
            messages.append({"role": role, "content": said})
    return system, messages


def _role(entry: Entry) -> str:
    match entry:
        case Message(role="developer" | "system"):
            return "system"
        case Message(role="user") | ToolResult():
            return "user"
        case _:
            return "assistant"


def _said(entry: Entry, blocks: Blocks) -> Iterator[Json]:
    match entry:
        case Message():
            if entry.name:
                raise UnsupportedParameter("This model's provider has no names of those who speak.", f"{entry.param}.name")
            yield from blocks.of(entry.parts, lambda index: f"{entry.param}.content[{index}]")
        case Reasoning():
            yield from _reasoning(entry)
        case ToolCall():
            yield {"toolUse": {"toolUseId": entry.id, "name": entry.name, "input": _arguments(entry)}}
        case ToolResult():
            if entry.kind == "custom":
                raise _no_custom_tools(entry.param)
            content = [_result(block, entry) for block in blocks.of(entry.parts, lambda _: entry.param)]
            yield {"toolResult": {"toolUseId": entry.call_id, "content": content}}


def _result(block: Json, entry: ToolResult) -> Json:
    if "audio" in block:
        raise UnsupportedParameter("This model's provider takes no audio as the result of a tool.", entry.param)
    return block


def _reasoning(entry: Reasoning) -> Iterator[Json]:
    """What was thought here goes back as it came; what another model thought, unsigned, would be refused."""
    if found := open_seal(entry.encrypted, DIALECT):
        kind, payload = found
        if kind == REDACTED:
            yield {"reasoningContent": {"redactedContent": payload}}
        else:
            yield {"reasoningContent": {"reasoningText": {"text": entry.text, "signature": payload}}}
    elif entry.encrypted and not is_seal(entry.encrypted) and not (entry.text or entry.summary):
        raise UnsupportedParameter("This model's provider cannot read encrypted reasoning.", f"{entry.param}.encrypted_content")


def _arguments(call: ToolCall) -> Fragment | Json:
    if call.kind == "custom":
        raise _no_custom_tools(call.param)
    try:
        parsed = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise InvalidRequest("The arguments of a call have to be a JSON object for this model's provider.", call.param)
    return parsed
