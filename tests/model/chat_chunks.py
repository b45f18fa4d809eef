"""Chunks as upstreams write them, for scripts and expectations."""

from typing import Any

HEAD = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 7, "model": "m-2026"}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk; without a delta one without choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return HEAD | {"choices": choices} | more


def call(index: int | None, **more: Any) -> dict[str, Any]:
    """A delta with one tool call; an index of None is left out."""
    return {"tool_calls": [({} if index is None else {"index": index}) | more]}


def function(name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    """The function of a tool call, without what is None."""
    return {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}


USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}

TEXT = [chunk({"role": "assistant", "content": ""}), chunk({"content": "hi "}), chunk({"content": "you"}), chunk({}, "stop")]
