"""What a dialect offers besides turns when it is of the same shape as a face: requests that pass through unchanged."""

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest


@runtime_checkable
class NativeChat(Protocol):
    """A dialect that speaks chat completions itself: nothing that the upstream says is lost.

    `upstream_model` is the model's name there; answers carry the name that the caller used, `request.model`. Raises as
    `Dialect.turn` does.
    """

    async def create_chat_completion(self, request: CreateChatCompletionRequest, upstream_model: str) -> ChatCompletion:
        """The whole answer."""
        ...

    def stream_chat_completion(
        self, request: CreateChatCompletionRequest, upstream_model: str
    ) -> AsyncGenerator[ChatCompletionChunkBatch]:
        """The answer in batches of the chunks that were ready together; closing the iterator ends the upstream call."""
        ...
