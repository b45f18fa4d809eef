"""Chunks of a chat completion as the events of a turn."""

from collections.abc import Iterable
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

_ITS_NAMES: Final = ("id", "model", "system_fingerprint")


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

    def read(self, head: dict[str, Any], chunk: chat.ChatCompletionChunk) -> list[TurnEvent]:
        """The events of a chunk. `head` holds the keys that all chunks of a stream share, as far as they came."""
        events: list[TurnEvent] = []
        if not self._started:
            self._started = True
            events.append(_started(head))
        if "service_tier" in head:
            self._tier = _text(head["service_tier"]) or self._tier
        if chunk.HasField("usage"):
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices:
            if choice.index == 0:
                self._choice(choice, events)
        return events

    def texts(self, texts: list[str]) -> Iterable[TurnEvent]:
        """The events of chunks that have nothing but these texts, and are not the first."""
        said = list(filter(None, texts))
        if not said:
            return ()
        if not self._reasoning:
            return (TextRun(said),)
        self._reasoning = False
        return ReasoningEnded(self._details.sealed()), TextRun(said)

    def finish(self) -> list[TurnEvent]:
        """The events that end the turn."""
        reason = reason_of(self._reason)
        if reason == "stop" and self._kinds:
            # What servers say when the choice of the tool was the caller's.
            reason = "tool_calls"
        finished = TurnFinished(reason, self._usage, self._tier)
        return [ReasoningEnded(self._details.sealed()), finished] if self._reasoning else [finished]

    def _choice(self, choice: chat.ChatChunkChoice, events: list[TurnEvent]) -> None:
        delta = choice.delta
        extra = orjson.loads(delta.extra) if delta.extra else {}
        if thought := delta.reasoning_content or (extra and _text(extra.get("reasoning"))):
            self._reasoning = True
            events.append(ReasoningDelta(thought))
        if delta.reasoning_details and self._details.add([orjson.loads(raw) for raw in delta.reasoning_details]):
            self._reasoning = True
        says = delta.content or delta.refusal or extra or choice.HasField("logprobs")
        answer = self._answer(choice, extra) if says else []
        for call in delta.tool_calls:
            self._call(call, answer)
        if answer:
            if self._reasoning:
                self._reasoning = False
                events.append(ReasoningEnded(self._details.sealed()))
            events += answer
        self._reason = choice.finish_reason or self._reason

    def _answer(self, choice: chat.ChatChunkChoice, extra: dict[str, Any]) -> list[TurnEvent]:
        delta = choice.delta
        events: list[TurnEvent] = []
        logprobs = tuple(map(_logprob, choice.logprobs.content.tokens)) if choice.HasField("logprobs") else ()
        if delta.content or logprobs:
            events.append(TextDelta(delta.content, logprobs))
        if delta.refusal:
            events.append(RefusalDelta(delta.refusal))
        if extra:
            events += [AnnotationAdded(_flat(annotation)) for annotation in _annotations(extra)]
        return events

    def _call(self, call: chat.ChatToolCallDelta, events: list[TurnEvent]) -> None:
        if call.index not in self._kinds:
            kind: Literal["function", "custom"] = "custom" if call.HasField("custom") else "function"
            name = call.custom.name or call.function.name
            if not name:
                raise UpstreamFailed("The provider sent a tool call without a name.")
            self._kinds[call.index] = kind
            events.append(ToolCallStarted(call.index, call.id, name, kind))
        if text := call.custom.input or call.function.arguments:
            events.append(ToolCallDelta(call.index, text))


def _started(head: dict[str, Any]) -> TurnStarted:
    told: dict[str, str] = {name: value for name in _ITS_NAMES if isinstance(value := head.get(name), str)}
    return TurnStarted(created=_number(head.get("created")), **told)


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
        cached_tokens=prompt.cached_tokens or (_number(extra.get("prompt_cache_hit_tokens")) if extra else 0),
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
