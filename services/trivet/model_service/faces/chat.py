"""The chat completions face: what is asked becomes a turn, and the turn's events become chunks or a completion."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.model_service.domain.turn import TurnEvent
from trivet.model_service.faces.chat_answer import ChatChunks, WholeChat


async def collect(whole: WholeChat, turn: AsyncGenerator[list[TurnEvent]]) -> ChatCompletion:
    """The whole answer of a turn. Raises what the turn raises."""
    async with aclosing(turn) as batches:
        async for events in batches:
            whole.add(events)
    return whole.completion()


async def stream(chunks: ChatChunks, turn: AsyncGenerator[list[TurnEvent]]) -> AsyncGenerator[ChatCompletionChunkBatch]:
    """The chunks of a turn's answer, in the batches that they come in. Raises what the turn raises."""
    async with aclosing(turn) as batches:
        async for events in batches:
            for batch in chunks.batches(events):
                yield batch
