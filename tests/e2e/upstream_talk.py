"""What an upstream says and hears, apart from its dialect and from whether it streams."""

from typing import Any

from tests.e2e.answers import Answer
from tests.e2e.frames import Json
from tests.upstreams.scripted import Request, ScriptedUpstream, Step


def say(upstream: ScriptedUpstream, *answers: Answer | str) -> None:
    """What the upstream says to the next requests, in the dialect of each, streamed if it asks for that."""
    for answer in answers:
        upstream.reply(_script(Answer(text=(answer,)) if isinstance(answer, str) else answer))


def _script(said: Answer) -> Any:
    def script(request: Request) -> list[Step]:
        dialect = "lab" if request.path.endswith("/chat/completions") else "oai"
        steps: Step | list[Step] = said.script(dialect, streamed=bool(request.body.get("stream")))
        return steps if isinstance(steps, list) else [steps]

    return script


def heard(body: Json) -> list[tuple[str, str]]:
    """Who says what in a request: messages by role, `call` and `result` of functions with arguments and output, others by type."""
    found: list[tuple[str, str]] = [("system", body["instructions"])] if body.get("instructions") else []
    given = body["messages"] if "messages" in body else body["input"]
    entries = [{"role": "user", "content": given}] if isinstance(given, str) else given
    for entry in entries:
        found += _entry(entry)
    return found


def _entry(entry: Json) -> list[tuple[str, str]]:
    if entry.get("type") == "function_call":
        return [("call", f"{entry['name']} {entry['arguments']}")]
    if entry.get("type") == "function_call_output":
        return [("result", _text(entry["output"]))]
    if entry.get("role") == "tool":
        return [("result", _text(entry["content"]))]
    if "role" not in entry:
        return [(entry["type"], entry.get("encrypted_content") or "")]
    said = [(entry["role"], _text(entry["content"]))] if entry.get("content") else []
    calls = (call["function"] for call in entry.get("tool_calls") or ())
    return said + [("call", f"{call['name']} {call['arguments']}") for call in calls]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
