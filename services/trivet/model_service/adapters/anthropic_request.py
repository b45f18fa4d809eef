"""A turn as the body of a Messages request."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
from orjson import Fragment

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.anthropic_conversation import conversation
from trivet.model_service.adapters.anthropic_models import Claude, claude
from trivet.model_service.adapters.extra_parameters import with_extra
from trivet.model_service.domain.turn import CustomTool, FunctionTool, HostedTool, TextFormat, Tool, ToolChoice, TurnRequest

Body = dict[str, Any]

_MISSING: Final = {"frequency_penalty": 0, "presence_penalty": 0, "seed": None, "logprobs": False, "top_logprobs": None}
"""What this API has no parameter for, with the value that asks for nothing."""

_NOT_IN_A_TURN: Final = frozenset({"n", "store", "prompt_cache_retention", "prompt_cache_options"})
"""Parameters of other APIs that callers are used to, which this one has not."""

_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}

_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}

_SHARES: Final = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.9}
"""How much of an answer a model with a budget may think, by effort."""

_LEAST_BUDGET: Final = 1024
_LEAST_TOP_P: Final = 0.95

_COUNTED: Final = frozenset({"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"})


def messages_body(request: TurnRequest) -> Body:
    """The JSON body that asks for `request`.

    Raises:
        UnsupportedParameter: there is no way to ask for it.
    """
    _refuse_the_inexpressible(request)
    model = claude(request.model)
    limit = request.max_output_tokens if request.max_output_tokens is not None else model.limit(request.reasoning_effort)
    system, messages = conversation(request.conversation)
    given: Body = {
        "system": system or None,
        "stream": True if request.stream else None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": list(request.stop) or None,
        "service_tier": _tier(request),
        "metadata": _metadata(request),
        "thinking": _thinking(request, model, limit),
        "output_config": _output_config(request, model),
    }
    body: Body = {"model": request.model, "max_tokens": limit, "messages": messages}
    body |= {name: value for name, value in given.items() if value is not None}
    body |= _tools(request)
    _refuse_beside_thinking(request, body)
    return with_extra(body, _without_empty_wishes(request), _NOT_IN_A_TURN)


def count_body(request: TurnRequest) -> Body:
    """The JSON body that asks how many tokens `request` would bring. Raises UnsupportedParameter."""
    return {key: value for key, value in messages_body(request).items() if key in _COUNTED}


def _refuse_the_inexpressible(request: TurnRequest) -> None:
    for name, nothing in _MISSING.items():
        if getattr(request, name) not in (None, nothing):
            raise _unsupported(request.param(name))
    if request.verbosity not in {None, "medium"}:
        raise _unsupported(request.param("verbosity"))
    if request.reasoning_summary not in {None, "auto"}:
        told = "This model's provider has one form of reasoning summaries: `auto`."
        raise UnsupportedParameter(told, request.reasoning_summary_param)


def _unsupported(param: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"This model's provider cannot be asked for `{param}`.", param)


def _without_empty_wishes(request: TurnRequest) -> TurnRequest:
    """The request without what asks for nothing: this API keeps no answers anyway."""
    if request.extra.get("store") != "false":
        return request
    return replace(request, extra={name: raw for name, raw in request.extra.items() if name != "store"})


def _tier(request: TurnRequest) -> str | None:
    if request.service_tier is None:
        return None
    if request.service_tier not in _TIERS:
        raise UnsupportedParameter("This model's provider serves in the tiers `auto` and `default`.", "service_tier")
    return _TIERS[request.service_tier]


def _metadata(request: TurnRequest) -> Body | None:
    """Who asks, which is all that this API takes."""
    if request.metadata.keys() - {"user_id"}:
        raise UnsupportedParameter("This model's provider takes no metadata but a `user_id`.", "metadata")
    told = {"user": request.user, "safety_identifier": request.safety_identifier, "metadata": request.metadata.get("user_id")}
    given = {name: who for name, who in told.items() if who is not None}
    if len(set(given.values())) > 1:
        raise UnsupportedParameter("This model's provider takes one name of the user.", list(given)[-1])
    return {"user_id": next(iter(given.values()))} if given else None


# ---- thinking and form ---------------------------------------------------------------------------------------------


def _thinking(request: TurnRequest, model: Claude, limit: int) -> Body | None:
    """How the model is to think; None leaves it to the model."""
    effort = request.reasoning_effort
    if effort is None:
        # What a model thinks by itself it may keep to itself.
        return _adaptive() if request.reasoning_summary and model.thinking == "adaptive" else None
    param = request.param("reasoning_effort")
    if effort == "none":
        if not model.can_stop_thinking:
            raise UnsupportedParameter("This model always thinks.", param)
        return None if model.thinking == "none" else {"type": "disabled"}
    match model.thinking:
        case "adaptive":
            return _adaptive()
        case "budget":
            return {"type": "enabled", "budget_tokens": _budget(effort, limit, param)}
        case "none":
            raise UnsupportedParameter("This model does not think.", param)


def _adaptive() -> Body:
    return {"type": "adaptive", "display": "summarized"}


def _budget(effort: str, limit: int, param: str) -> int:
    if effort not in _SHARES:
        raise UnsupportedParameter(f"This model thinks with an effort of {', '.join(_SHARES)} or none.", param)
    budget = max(_LEAST_BUDGET, int(limit * _SHARES[effort]))
    if budget >= limit:
        raise UnsupportedParameter(f"This model needs room to think: a limit of more than {_LEAST_BUDGET} tokens.", param)
    return budget


def _refuse_beside_thinking(request: TurnRequest, body: Body) -> None:
    """Refuses what the model cannot be told while it thinks as we ask it to."""
    kind = (body.get("thinking") or {}).get("type")
    if kind not in {"adaptive", "enabled"}:
        return
    wrong = {
        "temperature": request.temperature not in {None, 1},
        "top_p": request.top_p is not None and request.top_p < _LEAST_TOP_P,
        "top_k": request.top_k is not None,
        "tool_choice": kind == "enabled" and (body.get("tool_choice") or {}).get("type") in {"any", "tool"},
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise UnsupportedParameter(f"A model of this provider that thinks cannot be told this `{name}`.", name)


def _output_config(request: TurnRequest, model: Claude) -> Body | None:
    config: Body = {}
    if model.thinking == "adaptive" and request.reasoning_effort not in {None, "none"}:
        config["effort"] = "low" if request.reasoning_effort == "minimal" else request.reasoning_effort
    if request.text_format is not None and request.text_format.type != "text":
        config["format"] = _format(request.text_format, request.param("text_format"))
    return config or None


def _format(wanted: TextFormat, param: str) -> Body:
    """The schema of an answer; what the caller says of it is told with it, and it is always kept to."""
    if wanted.type == "json_object":
        raise UnsupportedParameter("This model's provider writes JSON by a schema only: ask for a `json_schema`.", param)
    schema = orjson.loads(wanted.schema or "{}")
    if wanted.description and isinstance(schema, dict):
        schema = {"description": wanted.description} | schema
    return {"type": "json_schema", "schema": schema}


# ---- tools ---------------------------------------------------------------------------------------------------------


def _tools(request: TurnRequest) -> Body:
    tools, choice = request.tools, request.tool_choice
    if choice is not None and choice.kind == "allowed":
        # Offering only those is the same as allowing no other.
        tools = tuple(tool for tool in tools if not isinstance(tool, HostedTool) and tool.name in choice.names)
        choice = ToolChoice(mode=choice.mode)
    chosen = _tool_choice(choice, tools, one_at_a_time=request.parallel_tool_calls is False)
    found: Body = {"tools": [_tool(tool) for tool in tools]} if tools else {}
    return found | ({"tool_choice": chosen} if chosen else {})


def _tool(tool: Tool) -> Body:
    if isinstance(tool, HostedTool):
        raise UnsupportedParameter(f"This model's provider has no tools of the type `{tool.type}`.", tool.param)
    if isinstance(tool, CustomTool):
        raise UnsupportedParameter("This model's provider has no tools that take free text.", tool.param)
    return _function(tool)


def _function(tool: FunctionTool) -> Body:
    known: Body = {"name": tool.name, "input_schema": Fragment(tool.parameters or '{"type":"object","properties":{}}')}
    if tool.description:
        known["description"] = tool.description
    return known | ({"strict": True} if tool.strict else {})


def _tool_choice(choice: ToolChoice | None, tools: Sequence[Tool], *, one_at_a_time: bool) -> Body | None:
    if choice is not None and choice.kind == "hosted":
        raise UnsupportedParameter("This model's provider cannot be told to choose this tool.", "tool_choice")
    mode = "auto" if choice is None else choice.mode
    if not tools:
        if mode == "required":
            raise UnsupportedParameter("There is no tool to choose.", "tool_choice")
        return None
    if choice is not None and choice.kind == "named":
        chosen: Body = {"type": "tool", "name": choice.names[0]}
    elif choice is None and not one_at_a_time:
        return None
    else:
        chosen = {"type": _CHOICES[mode]}
    return chosen | ({"disable_parallel_tool_use": True} if one_at_a_time and chosen["type"] != "none" else {})
