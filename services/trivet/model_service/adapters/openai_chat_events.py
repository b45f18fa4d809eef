"""Chunks of a chat completion as the events of a turn."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import orjson

from trivet.content.v1 import chat_completion_pb2 as chat
from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.adapters.reasoning_details import Details
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    TextRun,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)

Reason = Literal["stop", "length", "tool_calls", "content_filter"]

_REASONS: Final[dict[str, Reason]] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
"""Everything else, such as `eos`, is a `stop`."""


def reason_of(told: str) -> Reason:
    """Why a turn ended, from what a server says of it."""
    return _REASONS.get(told, "stop")


class ChunkReader:
    """Reads the chunks of one turn, repaired, decoded, and of one choice; `finish` gives the last events."""

    def __init__(self) -> None:
        self._started = False
        self._reasoning = False
        self._details = Details()
        self._kinds: dict[int, str] = {}
        self._reason = ""
        self._usage: Usage | None = None
        self._tier = ""

    def read(self, head: dict[str, Any], chunk: chat.ChatCompletionChunk) -> Iterator[TurnEvent]:
        """The events of a chunk. `head` holds the keys that all chunks of a stream share, as far as they came."""
        if not self._started:
            self._started = True
            yield TurnStarted(
                id=_text(head.get("id")),
                model=_text(head.get("model")),
                created=_number(head.get("created")),
                system_fingerprint=_text(head.get("system_fingerprint")),
            )
        self._tier = _text(head.get("service_tier")) or self._tier
        if chunk.HasField("usage"):
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices:
            if choice.index == 0:
                yield from self._choice(choice)

    def texts(self, texts: list[str]) -> Iterable[TurnEvent]:
        """The events of chunks that have nothing but these texts, and are not the first."""
        said = list(filter(None, texts))
        if not said:
            return ()
        return self._after_thoughts(TextRun(said)) if self._reasoning else (TextRun(said),)

    def finish(self) -> Iterator[TurnEvent]:
        """The events that end the turn."""
        if self._reasoning:
            yield ReasoningEnded(self._details.sealed())
        reason = reason_of(self._reason)
        if reason == "stop" and self._kinds:
            # What servers say when the choice of the tool was the caller's.
            reason = "tool_calls"
        yield TurnFinished(reason, self._usage, self._tier)

    def _choice(self, choice: chat.ChatChunkChoice) -> Iterator[TurnEvent]:
        delta = choice.delta
        extra = orjson.loads(delta.extra) if delta.extra else {}
        if thought := delta.reasoning_content or _text(extra.get("reasoning")):
            self._reasoning = True
            yield ReasoningDelta(thought)
        if self._details.add([orjson.loads(raw) for raw in delta.reasoning_details]):
            self._reasoning = True
        for event in self._answer(choice, extra):
            yield from self._after_thoughts(event)
        self._reason = choice.finish_reason or self._reason

    def _after_thoughts(self, event: TurnEvent) -> Iterator[TurnEvent]:
        if self._reasoning:
            self._reasoning = False
            yield ReasoningEnded(self._details.sealed())
        yield event

    def _answer(self, choice: chat.ChatChunkChoice, extra: dict[str, Any]) -> Iterator[TurnEvent]:
        delta = choice.delta
        logprobs = tuple(map(_logprob, choice.logprobs.content.tokens)) if choice.HasField("logprobs") else ()
        if delta.content or logprobs:
            yield TextDelta(delta.content, logprobs)
        if delta.refusal:
            yield RefusalDelta(delta.refusal)
        for annotation in _annotations(extra):
            yield AnnotationAdded(_flat(annotation))
        for call in delta.tool_calls:
            yield from self._call(call)

    def _call(self, call: chat.ChatToolCallDelta) -> Iterator[TurnEvent]:
        if call.index not in self._kinds:
            kind: Literal["function", "custom"] = "custom" if call.HasField("custom") else "function"
            name = call.custom.name or call.function.name
            if not name:
                raise UpstreamFailed("The provider sent a tool call without a name.")
            self._kinds[call.index] = kind
            yield ToolCallStarted(call.index, call.id, name, kind)
        if text := call.custom.input or call.function.arguments:
            yield ToolCallDelta(call.index, text)


def _logprob(token: chat.TokenLogprob | chat.TopLogprob) -> TokenLogprob:
    values = tuple(token.bytes.values) if token.HasField("bytes") else None
    top: Iterable[chat.TopLogprob] = token.top_logprobs if isinstance(token, chat.TokenLogprob) else ()
    return TokenLogprob(token.token, token.logprob, values, tuple(map(_logprob, top)))


def _usage(usage: chat.ChatUsage) -> Usage:
    extra = orjson.loads(usage.extra) if usage.extra else {}
    prompt = usage.prompt_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens or usage.prompt_tokens + usage.completion_tokens,
        cached_tokens=prompt.cached_tokens or _number(extra.get("prompt_cache_hit_tokens")),
        cache_write_tokens=prompt.cache_write_tokens,
        reasoning_tokens=usage.completion_tokens_details.reasoning_tokens,
    )


def _annotations(extra: dict[str, Any]) -> list[dict[str, Any]]:
    found = extra.get("annotations") or []
    if not isinstance(found, list) or not all(isinstance(annotation, dict) for annotation in found):
        raise UpstreamFailed("The provider sent citations that are no list of objects.")
    return found


def _flat(annotation: dict[str, Any]) -> str:
    """A citation in the form of an event: its fields beside its type, not below a key of that name."""
    kind = annotation.get("type")
    fields = annotation.get(kind) if isinstance(kind, str) else None
    return orjson.dumps({"type": kind, **fields} if isinstance(fields, dict) else annotation).decode()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
