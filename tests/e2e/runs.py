"""Agent runs: what is asked, what the model says to it, and what the stream told."""

import json
from collections.abc import Sequence
from typing import Any

from tests.e2e.answers import Answer, Call
from tests.e2e.frames import Json
from tests.upstreams.scripted import ScriptedUpstream

DONE = Answer(text=("All ", "done."))


def run(**changes: Any) -> Json:
    """A request for a run with the tools of the registered server."""
    asked = {"model": "lab/m", "messages": [{"role": "user", "content": "go"}], "mcp_servers": [{"integration_fqn": "tools"}]}
    return {**asked, **changes}


def calling(*calls: tuple[str, Json]) -> Answer:
    return Answer(calls=tuple(Call(f"call_{n}", name, json.dumps(arguments)) for n, (name, arguments) in enumerate(calls)))


def play(upstream: ScriptedUpstream, *answers: Answer, dialect: str = "lab") -> None:
    for said in answers:
        upstream.play(said.script(dialect, streamed=True))


def results(chunks: Sequence[Json]) -> dict[str, str]:
    """The tools' results by the id of their call, in the order in which they came."""
    deltas = [choice["delta"] for one in chunks for choice in one["choices"]]
    return {delta["tool_call_id"]: delta["content"] for delta in deltas if delta.get("role") == "tool"}


def text(chunks: Sequence[Json]) -> str:
    deltas = [choice["delta"] for one in chunks for choice in one["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas if delta.get("role") != "tool")
