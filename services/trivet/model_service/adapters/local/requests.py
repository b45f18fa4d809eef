"""What llama.cpp is asked for a chat completion, so that a model of 135 million parameters can use tools.

It was never trained on tools, so each turn is put to it in the form that it does best. Nothing is answered for it:
every token of a decision, a call and an answer is the model's own.

- **Tools offered, `tool_choice` auto, a user's message last**: worked examples of questions with and without a need
  for a tool come first, and the model decides; once it writes `<tool_call>`, llama.cpp's grammar holds it to the
  offered tools and their schemas.
- **`required`, or a named tool**: the reply starts with `<tool_call>`, which the model has to finish.
- **A tool's result last, `tool_choice` auto or none**: the result and the question are put as one short text, without
  tools, and the model answers. So a run on auto makes one round of calls; it would repeat the same call for ever.
- **Everything else** is a plain chat.

A turn makes one call at most: a second one would be a copy of the first. Calls are greedy whatever `temperature` says
(a sampled argument is a wrong one); other turns are unless the caller asks otherwise.
"""

import json
from collections.abc import Iterator
from typing import Any

import orjson

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.local import examples

Json = dict[str, Any]

DEFAULT_MAX_TOKENS = 512
"""Where an answer ends if the caller sets no limit: a model this small may repeat itself without end."""

_CALL_BEGIN = "<tool_call>\n"
_CALL_END = "</tool_call>"
_NEVER = ("audio", "functions", "function_call", "prediction", "web_search_options", "reasoning_effort", "verbosity")


def adapt(body: Json) -> Json:
    """Turn the body of an OpenAI chat completion into the one that llama.cpp is sent.

    `body` may hold raw JSON as `orjson.Fragment`, and stays as it is. Raises UnsupportedParameter for what the model
    cannot take.
    """
    body = orjson.loads(orjson.dumps(body))
    _refuse(body)
    messages = _one_system_message([_text_only(message, i) for i, message in enumerate(body.get("messages") or [])])
    tools, choice = _offered(body)
    request = {key: value for key, value in body.items() if key not in ("tools", "tool_choice", "parallel_tool_calls")}
    request.setdefault("temperature", 0)
    if not body.get("max_tokens") and not body.get("max_completion_tokens"):
        request["max_tokens"] = DEFAULT_MAX_TOKENS
    answering = bool(messages) and messages[-1].get("role") == "tool"
    if not tools or choice == "none" or (answering and choice == "auto"):
        return request | {"messages": _answer(messages) if answering else messages}
    if (body.get("response_format") or {}).get("type") not in (None, "text"):
        raise UnsupportedParameter("This model cannot offer tools and a response format in one turn.", "response_format")
    return request | _call(messages, tools, choice) | {"stop": [*_stops(body), _CALL_END], "temperature": 0}


def _refuse(body: Json) -> None:
    for name in _NEVER:
        if body.get(name) is not None:
            raise UnsupportedParameter(f"The embedded model has no `{name}`.", name)
    if any(modality != "text" for modality in body.get("modalities") or ()):
        raise UnsupportedParameter("The embedded model writes text only.", "modalities")


def _text_only(message: Json, index: int) -> Json:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    for i, part in enumerate(content):
        if part.get("type") not in ("text", "refusal"):
            raise UnsupportedParameter("The embedded model reads text only.", f"messages[{index}].content[{i}]")
    return message | {"content": "\n".join(part.get("text") or part.get("refusal") or "" for part in content)}


def _one_system_message(messages: list[Json]) -> list[Json]:
    # A later system message makes the model forget what came before it.
    instructions = [m["content"] for m in messages if m.get("role") in ("system", "developer") and m.get("content")]
    rest = [m for m in messages if m.get("role") not in ("system", "developer")]
    return [{"role": "system", "content": "\n\n".join(instructions)}, *rest] if instructions else rest


def _offered(body: Json) -> tuple[list[Json], str]:
    """Give the tools that may be called in this turn, and `auto`, `none` or `required`."""
    tools = [_function(tool, f"tools[{i}]") for i, tool in enumerate(body.get("tools") or [])]
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, str):
        return tools, choice
    allowed = choice.get("allowed_tools") or {}
    named = allowed.get("tools", ()) if choice.get("type") == "allowed_tools" else [choice]
    if any(entry.get("type") != "function" for entry in named):
        raise UnsupportedParameter("The embedded model can only be told to call a function.", "tool_choice")
    names = {entry["function"]["name"] for entry in named}
    return [tool for tool in tools if tool["function"]["name"] in names], allowed.get("mode", "required")


def _function(tool: Json, param: str) -> Json:
    if tool.get("type") != "function":
        raise UnsupportedParameter("The embedded model calls functions only.", param)
    function = tool["function"]
    return {"type": "function", "function": function | {"parameters": function.get("parameters") or {"type": "object"}}}


def _call(messages: list[Json], tools: list[Json], choice: str) -> Json:
    system, rest = _split(messages)
    prompt = [system, *examples.DECISIONS, *rest]
    if choice == "required":
        prompt.append({"role": "assistant", "content": _CALL_BEGIN})
    return {"messages": prompt, "tools": tools, "tool_choice": choice}


def _stops(body: Json) -> list[str]:
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else list(stop)


def _split(messages: list[Json]) -> tuple[Json, list[Json]]:
    """Give the system message, the model's own if there is none, and the rest."""
    if messages and messages[0].get("role") == "system":
        return messages[0], messages[1:]
    return examples.SYSTEM, messages


def _answer(messages: list[Json]) -> list[Json]:
    system, rest = _split(messages)
    asked = max((i for i, message in enumerate(rest) if message.get("role") == "user"), default=-1)
    results = [str(message.get("content") or "") for message in rest[asked + 1 :] if message.get("role") == "tool"]
    question = rest[asked]["content"] if asked >= 0 else ""
    text = examples.result_and_question([_readable(result) for result in results], question)
    return [system, *_examples_for(results[-1]), *rest[: max(asked, 0)], text]


def _examples_for(result: str) -> tuple[Json, ...]:
    if "error" in result[:24].lower():
        return examples.ABOUT_FAILURE
    return examples.ABOUT_DATA if _structured(result) is not None else examples.ABOUT_TEXT


def _readable(result: str) -> str:
    """Give a JSON result as lines of `path: value`, which the model reads far better; other text as it is."""
    value = _structured(result)
    return result if value is None else "\n".join(_lines(value, ""))


def _structured(result: str) -> Json | list[Any] | None:
    try:
        value = json.loads(result)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) else None


def _lines(value: object, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(inner, f"{path} {key}".strip())
    elif isinstance(value, list):
        for index, inner in enumerate(value, 1):
            yield from _lines(inner, f"{path} {index}".strip())
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield f"{path}: {text}" if path else text
