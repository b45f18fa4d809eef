"""What a response repeats of its request."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import orjson

from trivet.model.v1 import response_config_pb2 as config
from trivet.model.v1 import response_pb2 as pb
from trivet.model.v1 import response_request_pb2 as request_pb
from trivet.model.v1 import response_tool_pb2 as tool_pb
from trivet.model_service.domain.identity import new_id
from trivet.model_service.faces.responses_request import given_by

REPEATED: Final = frozenset(
    {
        "model",
        "previous_response_id",
        "background",
        "max_output_tokens",
        "max_tool_calls",
        "parallel_tool_calls",
        "temperature",
        "top_p",
        "top_logprobs",
        "presence_penalty",
        "frequency_penalty",
        "reasoning",
        "text",
        "tools",
        "tool_choice",
        "truncation",
        "service_tier",
        "metadata",
        "user",
        "safety_identifier",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "store",
    }
)
"""What a response has as its request gave it."""

_COMPLETED: Final = frozenset({"tools", "reasoning", "text"})
"""What of it `complete` adds to."""


new_response_id: Final = partial(new_id, "resp")
"""A fresh id of a response, which nobody can guess."""


class Begun:
    """A new response, in progress: what the fields that are set in its request tell, and nothing yet of the model's.

    The provider may not be known yet.
    """

    __slots__ = ("created_at", "given", "id", "provider")

    def __init__(self, given: Mapping[str, Any], provider: str = "") -> None:
        self.given = given
        self.provider = provider
        self.id = new_response_id()
        self.created_at = int(time.time())

    def response(self) -> pb.Response:
        """It as a message, of which somebody may make what becomes of it."""
        given = self.given
        begun: dict[str, Any] = {"id": self.id, "created_at": self.created_at, "status": "in_progress", "provider": self.provider}
        for name, value in given.items():
            if name in REPEATED:
                begun[name] = value  # noqa: PERF403 - a comprehension would be one more call
        response = pb.Response(**begun)
        if instructions := given.get("instructions"):
            response.instructions.text = instructions
        if "conversation" in given:
            reference = given["conversation"]
            response.conversation.id = reference.id or reference.conversation.id
        if not _COMPLETED.isdisjoint(given):
            complete(response)
        return response


def begin(request: request_pb.CreateResponseRequest, provider: str) -> pb.Response:
    """A new response to `request`."""
    return Begun(given_by(request), provider).response()


def complete(response: pb.Response) -> None:
    """Adds the keys that the contract wants inside of what a response has, null or nought where there is nothing to say."""
    for tool in response.tools:
        _complete_tool(tool)
    if response.HasField("reasoning"):
        _add_nulls(response.reasoning, "effort", "summary")
    if response.HasField("text"):
        _complete_text(response.text)


def _complete_tool(tool: tool_pb.Tool) -> None:
    if tool.HasField("function"):
        _add_nulls(tool.function, "description", "parameters", "strict")
    elif tool.HasField("mcp"):
        # Secrets that the caller gave for a server are nothing for a log of responses.
        tool.mcp.ClearField("authorization")
        tool.mcp.ClearField("headers")


def _complete_text(text: config.TextConfig) -> None:
    if not text.HasField("format"):
        text.format.text.SetInParent()
    if text.format.HasField("json_schema"):
        _add_nulls(text.format.json_schema, "description")
        if not text.format.json_schema.HasField("strict"):
            text.format.json_schema.strict = False


def _add_nulls(message: Any, *keys: str) -> None:
    """Writes null for those of the optional fields `keys` that are unset."""
    missing = {key: None for key in keys if not message.HasField(key)}
    if missing:
        message.extra = orjson.dumps(missing | orjson.loads(message.extra or "{}")).decode()
