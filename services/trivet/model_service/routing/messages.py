"""What the router reads of the messages that pass it: whether a stream has really begun, what was used, whether it failed.

Of the messages of a stream nearly all tell none of this, and there are many: what is asked of each of them looks at its end only.
"""

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message

from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, ChatCompletionChunkBatch, ChatUsage
from trivet.kernel.errors import RateLimited, ServiceError, UpstreamFailed
from trivet.model.v1.message_service_pb2 import CreatedMessage, MessageEvent, MessageEventBatch, MessageTokens
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response, ResponseUsage
from trivet.model_service.domain.turn import Usage
from trivet.model_service.faces.rendered import RenderedAnswer

Told = tuple[Usage | None, ServiceError | None]
"""The tokens that a message tells of, and the error by which an upstream ends a response of its own that has failed."""

_NOTHING: Final[Told] = None, None
_ENDS: Final = frozenset({"completed", "incomplete", "failed"})
_PING: Final = '{"type":"ping"'
_FRAME: Final = frozenset({"created", "in_progress", "queued"})
"""Events that say nothing of what the model says."""


def has_content(message: object) -> bool:
    """Whether a message of a stream tells its caller anything that it could not go back on: of its frame, it can."""
    match message:
        case ChatCompletionChunkBatch():
            return any(map(_says_something, message.chunks))
        case ResponseEventBatch():
            return not _FRAME.issuperset([event.WhichOneof("event") for event in message.events])
        case MessageEventBatch():
            return any(not _is_frame(event) for event in message.events)
        case _:
            return True


def told_by(message: object) -> Told:
    """What a message tells of the call, whole or of a stream."""
    return _TOLD.get(type(message), _told_by_another)(message)


def without_usage(batch: ChatCompletionChunkBatch) -> ChatCompletionChunkBatch | None:
    """The chunks as a caller gets them who did not ask for the usage; None where nothing is left. Changes the message."""
    for chunk in batch.chunks:
        if chunk.HasField("usage"):
            return _cleared(batch)
    return batch


def _cleared(batch: ChatCompletionChunkBatch) -> ChatCompletionChunkBatch | None:
    for index in reversed(range(len(batch.chunks))):
        chunk = batch.chunks[index]
        if chunk.HasField("usage"):
            chunk.ClearField("usage")
            if not chunk.ByteSize():
                del batch.chunks[index]
    return batch if batch.chunks else None


# ---- whether it has begun ----------------------------------------------------------------------------------------------


def _says_something(chunk: ChatCompletionChunk) -> bool:
    if chunk.contents:
        return True
    for choice in chunk.choices:
        if choice.HasField("finish_reason"):
            return True
        for field, value in choice.delta.ListFields():
            if value and field.name != "role":
                return True
    return False


def _is_frame(event: MessageEvent) -> bool:
    return event.HasField("message_start") or event.other.startswith(_PING)


# ---- what it tells -----------------------------------------------------------------------------------------------------


def _told_by_chunks(batch: ChatCompletionChunkBatch) -> Told:
    chunks = batch.chunks
    index = len(chunks)
    while index:
        index -= 1
        chunk = chunks[index]
        if chunk.HasField("usage"):
            return _of_chat(chunk.usage), None
        # Usage is told when the choices have ended, or while they do, or over and over.
        if chunk.contents or ((choices := chunk.choices) and not choices[0].HasField("finish_reason")):
            break
    return _NOTHING


def _told_by_rendered(answer: RenderedAnswer) -> Told:
    return answer.usage, None


def _told_by_chat(answer: ChatCompletion) -> Told:
    return (_of_chat(answer.usage), None) if answer.HasField("usage") else _NOTHING


def _told_by_events(batch: ResponseEventBatch) -> Told:
    if not batch.events:
        return _NOTHING
    last = batch.events[-1]
    kind = last.WhichOneof("event")
    return _told_by_response(getattr(last, kind).response) if kind in _ENDS else _NOTHING


def _told_by_response(response: Response) -> Told:
    usage = _of_response(response.usage) if response.HasField("usage") else None
    return usage, _fault_of(response) if response.status == "failed" else None


def _told_by_message(message: MessageEventBatch | CreatedMessage) -> Told:
    return (_of_message(message.tokens), None) if message.HasField("tokens") else _NOTHING


def _told_by_another(message: object) -> Told:
    """What an answer tells whose usage, if it has any, has some of the names of either API."""
    used = getattr(message, "usage", None)
    if used is None or (isinstance(message, Message) and not message.HasField("usage")):
        return _NOTHING
    count = _counts(used)
    read = _counts(getattr(used, "input_tokens_details", None))
    said = _counts(getattr(used, "output_tokens_details", None))
    usage = Usage(
        count("prompt_tokens") or count("input_tokens"),
        count("output_tokens"),
        count("total_tokens"),
        read("cached_tokens"),
        read("cache_write_tokens"),
        said("reasoning_tokens"),
    )
    return _if_any(usage), None


_TOLD: Final[dict[type, Callable[[Any], Told]]] = {
    ChatCompletionChunkBatch: _told_by_chunks,
    ChatCompletion: _told_by_chat,
    RenderedAnswer: _told_by_rendered,
    ResponseEventBatch: _told_by_events,
    Response: _told_by_response,
    MessageEventBatch: _told_by_message,
    CreatedMessage: _told_by_message,
}


def _fault_of(response: Response) -> ServiceError:
    limited = response.error.code == "rate_limit_exceeded"
    error = (RateLimited if limited else UpstreamFailed)(response.error.message or "The model failed.")
    error.upstream_status = 429 if limited else 500
    return error


# ---- tokens ------------------------------------------------------------------------------------------------------------


# None where all are nought: that is what faces show to who asked for what nobody told.


def _of_chat(used: ChatUsage) -> Usage | None:
    total = used.total_tokens or used.prompt_tokens + used.completion_tokens
    if not total:
        return None
    usage = Usage(used.prompt_tokens, used.completion_tokens, total)
    if used.HasField("prompt_tokens_details"):
        read = used.prompt_tokens_details
        usage.cached_tokens, usage.cache_write_tokens = read.cached_tokens, read.cache_write_tokens
    if used.HasField("completion_tokens_details"):
        usage.reasoning_tokens = used.completion_tokens_details.reasoning_tokens
    return usage


def _of_response(used: ResponseUsage) -> Usage | None:
    total = used.total_tokens or used.input_tokens + used.output_tokens
    if not total:
        return None
    usage = Usage(used.input_tokens, used.output_tokens, total)
    if used.HasField("input_tokens_details"):
        read = used.input_tokens_details
        usage.cached_tokens, usage.cache_write_tokens = read.cached_tokens, read.cache_write_tokens
    if used.HasField("output_tokens_details"):
        usage.reasoning_tokens = used.output_tokens_details.reasoning_tokens
    return usage


def _of_message(tokens: MessageTokens) -> Usage:
    return Usage(
        input_tokens=tokens.input_tokens,
        output_tokens=tokens.output_tokens,
        total_tokens=tokens.input_tokens + tokens.output_tokens,
        cached_tokens=tokens.cached_tokens,
        cache_write_tokens=tokens.cache_write_tokens,
        reasoning_tokens=tokens.reasoning_tokens,
    )


def _if_any(usage: Usage) -> Usage | None:
    usage.total_tokens = usage.total_tokens or usage.input_tokens + usage.output_tokens
    return usage if usage.total_tokens else None


def _counts(message: Any) -> Callable[[str], int]:
    return lambda name: getattr(message, name, None) or 0
