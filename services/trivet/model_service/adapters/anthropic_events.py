"""The stream of a message as the events of a turn; an answer in one piece is read as the stream that it could have been."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from trivet.kernel.errors import ServiceError
from trivet.model_service.adapters.anthropic_conversation import sealed_redacted, sealed_signature
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)

Json = dict[str, Any]
Reason = Literal["stop", "length", "tool_calls", "content_filter"]

_REASONS: Final[dict[str, Reason]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Everything else is a `stop`: an end, a stop sequence, or a pause in which only tools of the provider's own have run."""

_TIERS: Final = {"standard": "default"}

_BY_URL: Final = {"web_search_result_location": "url", "search_result_location": "source"}
"""Citations of what has a URL, and the key that it stands under. All others are of documents."""


@dataclass(slots=True)
class _Block:
    """A block that is open. `call` is the index of its tool call; `start` is where its text begins in what was said so far."""

    type: str
    input: Any = None
    call: int = -1
    signature: str = ""
    begun: bool = False
    start: int = 0
    citations: list[Json] = field(default_factory=list)


class MessageReader:
    """Reads one message. `failure` makes the typed error of an error object."""

    def __init__(self, failure: Callable[[object], ServiceError]) -> None:
        self._failure = failure
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._said = 0
        self._reason = ""
        self._explanation = ""
        self._counts: Json = {}
        self._tier = ""
        self.finished = False

    def read(self, event: Json) -> Iterator[TurnEvent]:
        """The events of one of the stream. Raises what an `error` stands for, and KeyError and the like where it breaks the API."""
        match event.get("type"):
            case "message_start":
                yield self._begin(event["message"])
            case "content_block_start":
                yield from self._open(event["index"], event["content_block"])
            case "content_block_delta":
                yield from self._delta(event["index"], event["delta"])
            case "content_block_stop":
                yield from self._close(event["index"])
            case "message_delta":
                self._told(event.get("delta") or {}, event.get("usage"))
            case "message_stop":
                yield from self._finish()
            case "message":
                yield from self.read_whole(event)
            case "error":
                raise self._failure(event.get("error"))
            case _:
                pass  # `ping`, and what may come to be: the API says to take no offence

    def read_whole(self, message: Json) -> Iterator[TurnEvent]:
        """The events of an answer in one piece."""
        yield self._begin(message)
        for index, block in enumerate(message["content"]):
            yield from self._open(index, block)
            yield from self._close(index)
        self._told(message, message.get("usage"))
        yield from self._finish()

    def _begin(self, message: Json) -> TurnStarted:
        self._count(message.get("usage"))
        return TurnStarted(id=_string(message.get("id")), model=_string(message.get("model")))

    # ---- blocks ----------------------------------------------------------------------------------------------------

    def _open(self, index: int, content: Json) -> Iterator[TurnEvent]:
        block = self._blocks[index] = _Block(_string(content.get("type")), start=self._said)
        match block.type:
            case "text":
                yield from self._say(_string(content.get("text")))
                block.citations += content.get("citations") or ()
            case "thinking":
                block.signature = _string(content.get("signature"))
                yield from self._think(_string(content.get("thinking")))
            case "redacted_thinking":
                self._said = 0
                yield ReasoningEnded(sealed_redacted(content["data"]))
            case "tool_use":
                self._said = 0
                block.call, block.input = self._calls, content.get("input")
                self._calls += 1
                yield ToolCallStarted(block.call, content["id"], content["name"])

    def _delta(self, index: int, delta: Json) -> Iterator[TurnEvent]:
        block = self._blocks[index]
        match delta.get("type"):
            case "text_delta":
                yield from self._say(delta["text"])
            case "thinking_delta":
                yield from self._think(delta["thinking"])
            case "signature_delta":
                block.signature += delta["signature"]
            case "citations_delta":
                block.citations.append(delta["citation"])
            case "input_json_delta" if block.type == "tool_use" and delta["partial_json"]:
                block.begun = True
                yield ToolCallDelta(block.call, delta["partial_json"])

    def _close(self, index: int) -> Iterator[TurnEvent]:
        block = self._blocks.pop(index)
        match block.type:
            case "text":
                for citation in block.citations:
                    yield AnnotationAdded(_annotation(citation, block.start, self._said))
            case "thinking":
                yield ReasoningEnded(sealed_signature(block.signature))
            case "tool_use" if not block.begun:
                yield ToolCallDelta(block.call, orjson.dumps(block.input or {}).decode())

    def _say(self, text: str) -> Iterator[TurnEvent]:
        if text:
            self._said += len(text)
            yield TextDelta(text)

    def _think(self, text: str) -> Iterator[TurnEvent]:
        # Text that follows is a message of its own, which citations count from.
        self._said = 0
        if text:
            yield ReasoningDelta(text)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def _told(self, delta: Json, usage: object) -> None:
        self._reason = _string(delta.get("stop_reason")) or self._reason
        self._explanation = _string((delta.get("stop_details") or {}).get("explanation")) or self._explanation
        self._count(usage)

    def _count(self, usage: object) -> None:
        """Takes counts, which are cumulative: the last word on each is the whole of it."""
        if isinstance(usage, dict):
            self._counts |= {name: count for name, count in usage.items() if count is not None}
            self._tier = _string(usage.get("service_tier")) or self._tier

    def _finish(self) -> Iterator[TurnEvent]:
        for index in list(self._blocks):
            yield from self._close(index)
        reason = _REASONS.get(self._reason, "stop")
        if reason == "stop" and self._calls:
            reason = "tool_calls"
        if reason == "content_filter" and self._explanation:
            yield RefusalDelta(self._explanation)
        self.finished = True
        yield TurnFinished(reason, told_usage(self._counts), _TIERS.get(self._tier, self._tier))


def _annotation(citation: Json, start: int, end: int) -> str:
    """A citation in the shape of the Responses API, with what the API tells besides; `start` and `end` are of the citing text."""
    kind = citation["type"]
    rest = {key: value for key, value in citation.items() if value is not None and key not in {"type", "encrypted_index"}}
    if kind in _BY_URL:
        url, title = rest.pop(_BY_URL[kind]), rest.pop("title", "")
        told = {"type": "url_citation", "start_index": start, "end_index": end, "url": url, "title": title}
    else:
        filename = rest.pop("document_title", "")
        told = {"type": "file_citation", "index": end, "file_id": rest.pop("file_id", ""), "filename": filename}
    return orjson.dumps(told | rest).decode()


def told_usage(counts: Json) -> Usage | None:
    if not counts:
        return None
    read, written = _number(counts, "cache_read_input_tokens"), _number(counts, "cache_creation_input_tokens")
    taken, made = _number(counts, "input_tokens") + read + written, _number(counts, "output_tokens")
    thought = _number(counts.get("output_tokens_details") or {}, "thinking_tokens")
    return Usage(taken, made, taken + made, cached_tokens=read, cache_write_tokens=written, reasoning_tokens=thought)


def _number(counts: Json, name: str) -> int:
    count = counts.get(name)
    return count if isinstance(count, int) else 0


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
