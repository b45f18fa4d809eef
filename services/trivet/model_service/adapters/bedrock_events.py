"""What Bedrock's Converse answers, as the events of a turn."""

from collections.abc import Iterator
from typing import Any, Final, Literal

import orjson

from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.domain.seals import seal
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)

DIALECT: Final = "bedrock"
SIGNATURE: Final = "signature"
REDACTED: Final = "redacted"

Reason = Literal["stop", "length", "tool_calls", "content_filter"]

REASONS: Final[dict[str, Reason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_MALFORMED: Final = frozenset({"malformed_model_output", "malformed_tool_use"})

Json = dict[str, Any]


class ConverseReader:
    """Reads the events of one stream; a whole answer is read as the stream that would have said the same."""

    def __init__(self) -> None:
        self._reason: Reason | None = None
        self._usage: Usage | None = None
        self._tier = ""
        self._calls: dict[int, int] = {}
        self._thinking: _Thinking | None = None
        self._said = 0
        self._block_began = 0

    @property
    def stopped(self) -> bool:
        """Whether the model has said why it stopped; only the usage may come after."""
        return self._reason is not None

    def read(self, name: str, body: Json) -> Iterator[TurnEvent]:
        """The events of an event. Raises UpstreamFailed, or what broken JSON raises: KeyError, TypeError and the like."""
        match name:
            case "messageStart":
                yield TurnStarted()
            case "contentBlockStart":
                yield from self._start(body["contentBlockIndex"], body["start"])
            case "contentBlockDelta":
                yield from self._delta(body["contentBlockIndex"], body["delta"])
            case "contentBlockStop":
                yield from self._end_thinking()
            case "messageStop":
                yield from self._end_thinking()
                self._stop(body["stopReason"])
            case "metadata":
                self._usage = _usage(body["usage"])
                self._tier = (body.get("serviceTier") or {}).get("type") or ""

    def read_whole(self, answer: Json) -> Iterator[TurnEvent]:
        """All events of an answer in one piece, the last included."""
        yield from self.read("messageStart", {})
        for index, block in enumerate(answer["output"]["message"]["content"]):
            yield from self._block(index, block)
            yield from self._end_thinking()
        self._stop(answer["stopReason"])
        yield from self.read("metadata", answer)
        yield self.finish()

    def finish(self) -> TurnFinished:
        """The last event."""
        return TurnFinished(self._reason or "stop", self._usage, self._tier)

    def _stop(self, reason: str) -> None:
        if reason in _MALFORMED:
            raise UpstreamFailed("The model's answer was malformed, says its provider.")
        self._reason = REASONS.get(reason, "stop")

    # ---- blocks ----------------------------------------------------------------------------------------------------

    def _block(self, index: int, block: Json) -> Iterator[TurnEvent]:
        self._block_began = self._said
        match block:
            case {"text": text}:
                yield from self._text(text)
            case {"toolUse": call}:
                yield from self._start(index, {"toolUse": call})
                yield from self._delta(index, {"toolUse": {"input": orjson.dumps(call["input"]).decode()}})
            case {"reasoningContent": {"reasoningText": thought}}:
                yield from self._reasoning(thought)
            case {"reasoningContent": thought}:
                yield from self._reasoning(thought)
            case {"citationsContent": cited}:
                yield from self._text("".join(part.get("text", "") for part in cited.get("content", ())))
                for citation in cited.get("citations", ()):
                    yield from self._cited(citation)

    def _start(self, index: int, start: Json) -> Iterator[TurnEvent]:
        self._block_began = self._said
        call = start.get("toolUse")
        # What a system tool of AWS does runs there, and nobody here is to answer it.
        if call and call.get("type") != "server_tool_use":
            place = self._calls[index] = len(self._calls)
            yield ToolCallStarted(place, call["toolUseId"], call["name"])

    def _delta(self, index: int, delta: Json) -> Iterator[TurnEvent]:
        match delta:
            case {"text": text}:
                yield from self._text(text)
            case {"toolUse": {"input": arguments}} if index in self._calls and arguments:
                yield ToolCallDelta(self._calls[index], arguments)
            case {"reasoningContent": thought}:
                yield from self._reasoning(thought)
            case {"citation": citation}:
                yield from self._cited(citation)

    def _text(self, text: str) -> Iterator[TurnEvent]:
        self._said += len(text)
        if text:
            yield TextDelta(text)

    def _reasoning(self, thought: Json) -> Iterator[TurnEvent]:
        thinking = self._thinking = self._thinking or _Thinking()
        thinking.signature += thought.get("signature") or ""
        thinking.redacted += thought.get("redactedContent") or ""
        if text := thought.get("text"):
            yield ReasoningDelta(text)

    def _end_thinking(self) -> Iterator[TurnEvent]:
        if self._thinking is not None:
            yield ReasoningEnded(self._thinking.seal())
            self._thinking = None

    def _cited(self, citation: Json) -> Iterator[TurnEvent]:
        told: Json = {"title": citation.get("title", "")}
        if web := (citation.get("location") or {}).get("web"):
            told = {"type": "url_citation", "url": web.get("url", ""), **told}
            told |= {"start_index": self._block_began, "end_index": self._said}
        else:
            told = {"type": "file_citation", "file_id": citation.get("source", ""), "index": self._said}
            told |= {"filename": citation.get("title", "")}
        yield AnnotationAdded(orjson.dumps(told).decode())


class _Thinking:
    """One block of reasoning, and what its provider wants back with it."""

    def __init__(self) -> None:
        self.signature = ""
        self.redacted = ""

    def seal(self) -> str:
        if self.redacted:
            return seal(DIALECT, REDACTED, self.redacted)
        return seal(DIALECT, SIGNATURE, self.signature) if self.signature else ""


def _usage(told: Json) -> Usage:
    read, written = told.get("cacheReadInputTokens") or 0, told.get("cacheWriteInputTokens") or 0
    # What was read from the cache and written to it is counted apart there, and is part of the input here.
    taken = told["inputTokens"] + read + written
    return Usage(
        input_tokens=taken,
        output_tokens=told["outputTokens"],
        total_tokens=taken + told["outputTokens"],
        cached_tokens=read,
        cache_write_tokens=written,
    )
