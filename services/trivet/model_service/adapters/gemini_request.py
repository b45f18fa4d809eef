"""A turn as the body of a generateContent request."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
from orjson import Fragment

from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model_service.adapters.extra_parameters import with_extra
from trivet.model_service.adapters.gemini_content import CUSTOM_INPUT, Contents
from trivet.model_service.domain.turn import CustomTool, FunctionTool, HostedTool, TextFormat, Tool, ToolChoice, TurnRequest

Json = dict[str, Any]

_CONFIG: Final = {
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
    "top_logprobs": "logprobs",
}
"""Parameters of a turn -> their names in `generationConfig`."""

_BUDGETS: Final = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""How many tokens a model of Gemini 2.5 may think, as Google's own API of OpenAI's shape has it."""

_LEVELS: Final = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}

_TIERS: Final = {"auto": "", "default": "standard", "flex": "flex", "priority": "priority"}
"""What OpenAI calls a tier -> Google's name for it; "" is that of the project."""

_OPEN: Final = ("generationConfig", "toolConfig")
"""Objects that a caller may add keys of this API to."""

_OWN_TOOLS: Final = ("googleSearch", "googleMaps", "urlContext", "codeExecution", "fileSearch")
"""Tools that Google runs, which a caller asks for by their names at the top of the request: `tools` has none like them."""

_NOT_IN_A_TURN: Final = frozenset({"contents", "systemInstruction", "store", "prompt_cache_options", "prompt_cache_retention"})
"""What the translation writes, and parameters of other APIs that callers are used to, which this one has not."""
_SHOWN: Final = frozenset({"TEXT", "IMAGE"})
_GENERATION: Final = re.compile(r"gemini-(\d+)")


def gemini_body(request: TurnRequest) -> Json:
    """The JSON body that asks for `request`; whether it is streamed is said by the path.

    Raises:
        UnsupportedParameter: there is no way to ask for it.
        InvalidRequest: it contradicts itself.
    """
    _refuse_the_inexpressible(request)
    spoken = Contents(request.conversation, signed=_generation(request.model) >= 3)
    body: Json = {"contents": spoken.contents}
    if spoken.system:
        body["systemInstruction"] = {"parts": spoken.system}
    body |= _tools(request.tools, request.tool_choice)
    if config := _config(request):
        body["generationConfig"] = config
    if request.service_tier is not None and (tier := _named("service_tier", request.service_tier, _TIERS)):
        body["serviceTier"] = tier
    return _with_extra(body, request)


def _generation(model: str) -> int:
    """The generation of a Gemini model by its name; that of `gemini-flash-latest` is not told, and so the newest."""
    told = _GENERATION.match(model)
    return int(told[1]) if told else 99 if model.startswith("gemini-") else 0


def _refuse_the_inexpressible(request: TurnRequest) -> None:
    if request.verbosity not in {None, "medium"}:
        raise _missing(request.param("verbosity"))
    if request.metadata:
        raise _missing("metadata")
    if request.parallel_tool_calls is False and request.tools:
        raise UnsupportedParameter("This model's provider cannot be kept to one call at a time.", "parallel_tool_calls")
    if request.reasoning_summary not in {None, "auto"}:
        # It writes summaries of one kind; `auto` takes what there is, and every other value asks for a certain one.
        raise UnsupportedParameter("This model's provider has one kind of summary: `auto`.", request.reasoning_summary_param)


def _missing(param: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"This model's provider has no parameter `{param}`.", param)


def _named(param: str, value: Any, known: dict[str, Any]) -> Any:
    if value not in known:
        names = ", ".join(f"`{name}`" for name in known)
        raise UnsupportedParameter(f"Of the values of `{param}`, this model has {names}.", param)
    return known[value]


# ---- how to generate -----------------------------------------------------------------------------------------------


def _config(request: TurnRequest) -> Json:
    config = {key: value for name, key in _CONFIG.items() if (value := getattr(request, name)) is not None}
    if request.stop:
        config["stopSequences"] = list(request.stop)
    if request.logprobs or request.top_logprobs is not None:
        config["responseLogprobs"] = True
    if request.text_format is not None and request.text_format.type != "text":
        config |= _json(request.text_format)
    if thinking := _thinking(request):
        config["thinkingConfig"] = thinking
    return config


def _json(wanted: TextFormat) -> Json:
    config: Json = {"responseMimeType": "application/json"}
    if wanted.type == "json_schema":
        # There is a place for the name and the description in the schema itself, unless it tells its own.
        told = {"title": wanted.name, "description": wanted.description}
        schema = orjson.loads(wanted.schema or "{}")
        named = {key: text for key, text in told.items() if text} | schema if isinstance(schema, dict) else schema
        config["responseJsonSchema"] = named
    return config


def _thinking(request: TurnRequest) -> Json:
    thinking: Json = {"includeThoughts": True} if request.reasoning_summary is not None else {}
    effort = request.reasoning_effort
    if effort is None:
        return thinking
    param = request.param("reasoning_effort")
    if _generation(request.model) == 2:
        return thinking | {"thinkingBudget": _named(param, effort, _BUDGETS)}
    return thinking | {"thinkingLevel": _named(param, effort, _LEVELS)}


# ---- tools ---------------------------------------------------------------------------------------------------------


def _tools(tools: Sequence[Tool], choice: ToolChoice | None) -> Json:
    found: Json = {"tools": [{"functionDeclarations": [_declaration(tool) for tool in tools]}]} if tools else {}
    strict = any(isinstance(tool, FunctionTool) and tool.strict for tool in tools)
    # Without a function to choose from, Gemini refuses any choice, even none.
    if choice is not None and (tools or choice.kind != "mode" or choice.mode == "required"):
        found["toolConfig"] = {"functionCallingConfig": _choice(choice, strict)}
    elif strict:
        found["toolConfig"] = {"functionCallingConfig": {"mode": "VALIDATED"}}
    return found


def _declaration(tool: Tool) -> Json:
    if isinstance(tool, HostedTool):
        raise UnsupportedParameter(f"This model's provider has no tools of the type `{tool.type}`.", tool.param)
    known: Json = {"name": tool.name}
    if tool.description:
        known["description"] = tool.description
    if isinstance(tool, CustomTool):
        if tool.format and orjson.loads(tool.format).get("type") != "text":
            raise UnsupportedParameter("This model's provider takes no grammars for the input of tools.", tool.param)
        only = {CUSTOM_INPUT: {"type": "string"}}
        return known | {"parametersJsonSchema": {"type": "object", "properties": only, "required": [CUSTOM_INPUT]}}
    if tool.parameters:
        known["parametersJsonSchema"] = Fragment(tool.parameters)
    return known


def _choice(choice: ToolChoice, strict: bool) -> Json:
    if choice.kind == "hosted":
        raise UnsupportedParameter("This model's provider cannot be told to choose this tool.", "tool_choice")
    if choice.mode == "none":
        return {"mode": "NONE"}
    names = {"allowedFunctionNames": list(choice.names)} if choice.kind != "mode" else {}
    if choice.mode == "required":
        return {"mode": "ANY"} | names
    # Only where arguments are held to their schemas, names can be allowed without demanding a call.
    return {"mode": "VALIDATED" if strict or names else "AUTO"} | names


# ---- what no field stands for --------------------------------------------------------------------------------------


def _with_extra(body: Json, request: TurnRequest) -> Json:
    # Nothing is stored anyway.
    extra = {name: raw for name, raw in request.extra.items() if (name, raw) != ("store", "false")}
    if own := [{name: Fragment(extra.pop(name))} for name in _OWN_TOOLS if name in extra]:
        body["tools"] = [*body.get("tools", ()), *own]
    for name in _OPEN:
        if name in extra:
            body[name] = _joined(name, body.get(name, {}), extra.pop(name))
    return with_extra(body, replace(request, extra=extra), _NOT_IN_A_TURN)


def _joined(name: str, written: Json, raw: str) -> Json:
    given = orjson.loads(raw)
    if not isinstance(given, dict):
        raise InvalidRequest(f"`{name}` is an object.", name)
    for key, value in given.items():
        several = key == "candidateCount" and value != 1
        unseen = key == "responseModalities" and not (isinstance(value, list) and _SHOWN.issuperset(map(str, value)))
        if key in written or several or unseen:
            raise UnsupportedParameter(f"This model's provider cannot be asked for `{name}.{key}`.", f"{name}.{key}")
    return given | written
