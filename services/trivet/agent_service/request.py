"""Reads an agent request into the chat request of its first model call."""

from typing import Final, Literal

import orjson

from trivet.agent.v1 import agent_service_pb2
from trivet.content.v1 import chat_request_pb2
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import UnsupportedParameter

DEFAULT_ITERATION_LIMIT: Final = 5

# What a run decides by itself, and so takes from no caller.
_DECIDED: Final = {
    "tools": "a run's tools come from `mcp_servers`",
    "functions": "a run's tools come from `mcp_servers`",
    "function_call": "a run's tools come from `mcp_servers`",
    "n": "a run has one answer",
}
_SAMPLING: Final[tuple[Literal["max_tokens", "temperature", "top_p", "top_k"], ...]] = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
)


def chat_request(
    request: agent_service_pb2.CreateAgentResponseRequest,
) -> chat_request_pb2.CreateChatCompletionRequest:
    """The first model call of a run, without its tools. Raises InvalidRequest for parameters that a run can't take."""
    chat = _from_extra(request.extra) if request.extra else chat_request_pb2.CreateChatCompletionRequest()
    chat.model = request.model
    chat.messages.extend(request.messages)
    for name in _SAMPLING:
        if request.HasField(name):
            setattr(chat, name, getattr(request, name))
    chat.stream_options.include_usage = True
    return chat


def _from_extra(text: str) -> chat_request_pb2.CreateChatCompletionRequest:
    extra = orjson.loads(text)
    for name, reason in _DECIDED.items():
        if extra.get(name) not in (None, 1 if name == "n" else []):
            raise UnsupportedParameter(f"Invalid '{name}': {reason}.", name)
    return codec_for(chat_request_pb2.CreateChatCompletionRequest).decode(extra)
