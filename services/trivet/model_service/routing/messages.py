"""What the router reads of the messages that pass it: whether a stream has really begun, what was used, whether it failed."""

from collections.abc import Callable
from typing import Any, Final

from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunk, ChatCompletionChunkBatch
from trivet.kernel.errors import RateLimited, ServiceError, UpstreamFailed
from trivet.model.v1.message_service_pb2 import CreatedMessage, MessageEvent, MessageEventBatch, MessageTokens
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.turn import Usage

_ENDS: Final = ("completed", "incomplete", "failed")
_PING: Final = '{"type":"ping"'
_FRAME: Final = frozenset({"created", "in_progress", "queued"})
"""Events that say nothing of what the model says."""


def has_content(message: object) -> bool:
    """Whether a message of a stream tells its caller anything that it could not go back on: of its frame, it can."""
    match message:
        case ChatCompletionChunkBatch():
            return any(map(_says_something, message.chunks))
        case ResponseEventBatch():
            return any(event.WhichOneof("event") not in _FRAME for event in message.events)
        case MessageEventBatch():
            return any(not _is_frame(event) for event in message.events)
        case _:
            return True


def usage_of(message: object) -> Usage | None:
    """The tokens that a message tells of, whole or of a stream; None where it tells none."""
    told: Any
    match message:
        case ChatCompletionChunkBatch():
            told = next((chunk for chunk in reversed(message.chunks) if chunk.HasField("usage")), None)
        case ResponseEventBatch():
            told = _ended(message)
        case MessageEventBatch() | CreatedMessage():
            return _told_by(message.tokens) if message.HasField("tokens") else None
        case _:
            told = message
    used = getattr(told, "usage", None)
    if used is None or (callable(getattr(told, "HasField", None)) and not told.HasField("usage")):
        return None
    return _usage(used)


def fault_of(message: object) -> ServiceError | None:
    """The error that a message tells of by which an upstream ends a response of its own that has failed."""
    ended = _ended(message) if isinstance(message, ResponseEventBatch) else message
    if not isinstance(ended, Response) or ended.status != "failed":
        return None
    limited = ended.error.code == "rate_limit_exceeded"
    error = (RateLimited if limited else UpstreamFailed)(ended.error.message or "The model failed.")
    error.upstream_status = 429 if limited else 500
    return error


def without_usage(batch: ChatCompletionChunkBatch) -> ChatCompletionChunkBatch:
    """The chunks as a caller gets them who did not ask for the usage. Changes the message."""
    for index in reversed(range(len(batch.chunks))):
        chunk = batch.chunks[index]
        if chunk.HasField("usage"):
            chunk.ClearField("usage")
            if not chunk.ByteSize():
                del batch.chunks[index]
    return batch


def _says_something(chunk: ChatCompletionChunk) -> bool:
    return bool(chunk.contents) or any(choice.HasField("finish_reason") or _is_told(choice.delta) for choice in chunk.choices)


def _is_told(delta: Any) -> bool:
    return any(field.name != "role" and value for field, value in delta.ListFields())


def _is_frame(event: MessageEvent) -> bool:
    return event.HasField("message_start") or event.other.startswith(_PING)


def _told_by(tokens: MessageTokens) -> Usage:
    return Usage(
        input_tokens=tokens.input_tokens,
        output_tokens=tokens.output_tokens,
        total_tokens=tokens.input_tokens + tokens.output_tokens,
        cached_tokens=tokens.cached_tokens,
        cache_write_tokens=tokens.cache_write_tokens,
        reasoning_tokens=tokens.reasoning_tokens,
    )


def _ended(batch: ResponseEventBatch) -> Response | None:
    if not batch.events:
        return None
    kind = batch.events[-1].WhichOneof("event")
    response: Response | None = getattr(batch.events[-1], kind).response if kind in _ENDS else None
    return response


def _usage(used: Any) -> Usage | None:
    count = _counts(used)
    given = count("prompt_tokens") or count("input_tokens")
    made = count("completion_tokens") or count("output_tokens")
    if not (given or made or count("total_tokens")):
        # Faces show noughts to who asked for what nobody told.
        return None
    read = _counts(getattr(used, "prompt_tokens_details", None) or getattr(used, "input_tokens_details", None))
    said = _counts(getattr(used, "completion_tokens_details", None) or getattr(used, "output_tokens_details", None))
    return Usage(
        input_tokens=given,
        output_tokens=made,
        total_tokens=count("total_tokens") or given + made,
        cached_tokens=read("cached_tokens"),
        cache_write_tokens=read("cache_write_tokens"),
        reasoning_tokens=said("reasoning_tokens"),
    )


def _counts(message: Any) -> Callable[[str], int]:
    return lambda name: getattr(message, name, None) or 0
