"""What a dialect offers besides turns when it is of the same shape as a face: requests that pass through unchanged.

`upstream_model` is the model's name at the upstream; answers carry the name that the caller used, `request.model`.
All of these raise as `Dialect.turn` does; closing an iterator ends the upstream call.
"""

from collections.abc import AsyncGenerator
from typing import Any, Final, Protocol, TypeGuard, runtime_checkable

from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.runs import More
from trivet.model.v1.message_service_pb2 import (
    CountMessageTokensRequest,
    CreatedMessage,
    CreateMessageRequest,
    MessageEventBatch,
    MessageTokenCount,
)
from trivet.model.v1.response_context_pb2 import CompactedResponse
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.ports import TellsTurns
from trivet.model_service.faces.rendered import RenderedAnswer
from trivet.model_service.faces.responses import Ending


@runtime_checkable
class NativeChat(Protocol):
    """A dialect that speaks chat completions itself: nothing that the upstream says is lost."""

    async def create_chat_completion(
        self, request: CreateChatCompletionRequest, upstream_model: str, *, accepts_rendered: bool = False
    ) -> ChatCompletion | RenderedAnswer:
        """The whole answer; as JSON only where the caller `accepts_rendered`, and not always then."""
        ...

    def stream_chat_completion(
        self, request: CreateChatCompletionRequest, upstream_model: str, more: More | None = None
    ) -> AsyncGenerator[ChatCompletionChunkBatch]:
        """The answer in batches of the chunks that were ready together. Text that goes on may be told by `more` instead."""
        ...


@runtime_checkable
class NativeResponses(Protocol):
    """A dialect that speaks the Responses API itself.

    `told` is the response as it begins: what is ours of it stays (its id, and where and how it is kept), the rest is what
    the upstream says, or else as `told` has it.
    """

    async def create_response(self, request: CreateResponseRequest, upstream_model: str, told: Response) -> Response:
        """The whole response."""
        ...

    def stream_response(
        self, request: CreateResponseRequest, upstream_model: str, told: Response, ending: Ending
    ) -> AsyncGenerator[ResponseEventBatch]:
        """The response in batches of the events that were ready together. `ending` is told how to end it with an error."""
        ...


@runtime_checkable
class NativeContext(Protocol):
    """A dialect of the Responses API whose servers may count and compact a context, too."""

    async def count_input_tokens(self, request: CreateResponseRequest, upstream_model: str) -> int | None:
        """How many tokens the request would bring to the model; None where this server does not count."""
        ...

    async def compact_response(self, request: CreateResponseRequest, upstream_model: str) -> CompactedResponse | None:
        """The shorter form of the input; None where this server has none."""
        ...


@runtime_checkable
class NativeMessages(Protocol):
    """A dialect that speaks the Messages API of Anthropic itself.

    `beta` is what the caller's client says in the header `anthropic-beta`, "" for nothing.
    """

    async def create_message(self, request: CreateMessageRequest, upstream_model: str, beta: str) -> CreatedMessage:
        """The whole message."""
        ...

    def stream_message(self, request: CreateMessageRequest, upstream_model: str, beta: str) -> AsyncGenerator[MessageEventBatch]:
        """The message in batches of the events that were ready together."""
        ...

    async def count_message_tokens(self, request: CountMessageTokensRequest, upstream_model: str, beta: str) -> MessageTokenCount:
        """How many tokens the request would bring."""
        ...


# Calls ask these all the time, and `isinstance` goes through all members of a protocol each time that it is asked.


def is_native_chat(dialect: Any) -> TypeGuard[NativeChat]:
    """Whether a dialect is a `NativeChat`."""
    return _FILLED[type(dialect), NativeChat]


def is_native_responses(dialect: Any) -> TypeGuard[NativeResponses]:
    """Whether a dialect is a `NativeResponses`."""
    return _FILLED[type(dialect), NativeResponses]


def tells_turns(dialect: Any) -> TypeGuard[TellsTurns]:
    """Whether a dialect is a `TellsTurns`."""
    return _FILLED[type(dialect), TellsTurns]


def is_native_messages(dialect: Any) -> TypeGuard[NativeMessages]:
    """Whether a dialect is a `NativeMessages`."""
    return _FILLED[type(dialect), NativeMessages]


class _Filled(dict[tuple[type, type], bool]):
    """Whether a type fills a protocol, remembered for the next time."""

    def __missing__(self, asked: tuple[type, type]) -> bool:
        filled = self[asked] = issubclass(*asked)
        return filled


_FILLED: Final = _Filled()
