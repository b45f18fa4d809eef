"""The events of a Responses stream, or a whole response, as the events of a turn."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal

import orjson

from trivet.kernel.errors import ServiceError
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    HostedItem,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)

Json = dict[str, Any]

_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""The kinds of items that are calls for the caller to answer -> the key of what is passed."""


class TurnReader:
    """Reads one response. What its deltas left out is made up for by the item that ends them, or by the last event.

    `failure` makes the typed error of an error object.
    """

    def __init__(self, failure: Callable[[object], ServiceError]) -> None:
        self._failure = failure
        self.finished = False
        self._started = False
        self._sent: Counter[tuple[Any, ...]] = Counter()
        self._calls: dict[int, int] = {}
        self._done: set[int] = set()
        self._indexes: dict[str, int] = {}

    def read(self, event: Json) -> Iterator[TurnEvent]:
        """The events that one of the stream stands for. Raises the error that it tells."""
        kind = event.get("type")
        if kind == "error":
            raise self._failure(event.get("error") or event)
        if self.finished:
            return
        yield from self._start(event.get("response") or {})
        index = self._index(event)
        match kind:
            case "response.output_item.added":
                yield from self._begin_call(index, event["item"])
            case "response.output_item.done":
                yield from self._item_done(index, event["item"])
            case "response.completed" | "response.incomplete" | "response.failed":
                response = event["response"]
                status = response.get("status") or str(kind).removeprefix("response.")
                yield from self._finish(response | {"status": status})
            case _:
                yield from self._delta(str(kind), index, event)

    def read_whole(self, response: Json) -> Iterator[TurnEvent]:
        """The events that a whole response stands for. Raises the error that it tells."""
        yield from self._start(response)
        yield from self._finish(response)

    def _start(self, response: Json) -> Iterator[TurnEvent]:
        if not self._started:
            self._started = True
            created = response.get("created_at") or 0
            yield TurnStarted(_string(response.get("id")), _string(response.get("model")), int(created))

    def _index(self, event: Json) -> int:
        """The place of the item that an event is about; llama.cpp tells its id only."""
        told = event.get("output_index")
        if isinstance(told, int):
            return told
        item_id = event.get("item_id") or (event.get("item") or {}).get("id") or ""
        return self._indexes.setdefault(item_id, len(self._indexes)) if item_id else 0

    def _delta(self, kind: str, index: int, event: Json) -> Iterator[TurnEvent]:
        place = event.get("content_index") or 0
        match kind:
            case "response.output_text.delta":
                yield self._text(("text", index, place), _string(event.get("delta")), event)
            case "response.refusal.delta":
                yield RefusalDelta(self._counted(("text", index, place), _string(event.get("delta"))))
            case "response.reasoning_text.delta" | "response.reasoning.delta":
                yield ReasoningDelta(self._counted(("content", index, place), _string(event.get("delta"))))
            case "response.reasoning_summary_text.delta":
                summary = event.get("summary_index") or 0
                yield ReasoningDelta(self._counted(("summary", index, summary), _string(event.get("delta"))), summary)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                if index in self._calls:
                    yield ToolCallDelta(self._calls[index], self._counted(("call", index), _string(event.get("delta"))))
            case "response.output_text.annotation.added":
                self._sent["annotation", index, place] += 1
                yield AnnotationAdded(_object(event.get("annotation")))

    def _counted(self, key: tuple[Any, ...], text: str) -> str:
        self._sent[key] += len(text)
        return text

    def _rest(self, key: tuple[Any, ...], whole: object) -> str:
        """What of a whole text its deltas did not bring."""
        return self._counted(key, _string(whole)[self._sent[key] :])

    def _text(self, key: tuple[Any, ...], text: str, event: Json) -> TextDelta:
        return TextDelta(self._counted(key, text), tuple(_logprob(token) for token in event.get("logprobs") or ()))

    # ---- items -----------------------------------------------------------------------------------------------------

    def _begin_call(self, index: int, item: Json) -> Iterator[TurnEvent]:
        if item.get("type") in _CALLS and index not in self._calls:
            self._calls[index] = len(self._calls)
            kind: Literal["function", "custom"] = "function" if item["type"] == "function_call" else "custom"
            yield ToolCallStarted(self._calls[index], _string(item.get("call_id")), _string(item.get("name")), kind)

    def _item_done(self, index: int, item: Json) -> Iterator[TurnEvent]:
        self._done.add(index)
        match item.get("type"):
            case "message":
                for place, part in enumerate(item.get("content") or ()):
                    yield from self._part_done(index, place, part)
            case "reasoning":
                yield from self._reasoning_done(index, item)
            case "function_call" | "custom_tool_call" as kind:
                yield from self._begin_call(index, item)
                if rest := self._rest(("call", index), item.get(_CALLS[kind])):
                    yield ToolCallDelta(self._calls[index], rest)
            case _:
                yield HostedItem(_object(item))

    def _part_done(self, index: int, place: int, part: Json) -> Iterator[TurnEvent]:
        key = ("text", index, place)
        if part.get("type") == "refusal":
            if rest := self._rest(key, part.get("refusal")):
                yield RefusalDelta(rest)
            return
        logprobs = {} if self._sent[key] else part
        if rest := self._rest(key, part.get("text")):
            yield self._text((), rest, logprobs)
        for annotation in (part.get("annotations") or ())[self._sent["annotation", index, place] :]:
            yield AnnotationAdded(_object(annotation))

    def _reasoning_done(self, index: int, item: Json) -> Iterator[TurnEvent]:
        for place, part in enumerate(item.get("summary") or ()):
            if rest := self._rest(("summary", index, place), part.get("text")):
                yield ReasoningDelta(rest, place)
        for place, part in enumerate(item.get("content") or ()):
            if rest := self._rest(("content", index, place), part.get("text")):
                yield ReasoningDelta(rest)
        yield ReasoningEnded(_string(item.get("encrypted_content")))

    # ---- the end ---------------------------------------------------------------------------------------------------

    def _finish(self, response: Json) -> Iterator[TurnEvent]:
        if response.get("status") in {"failed", "cancelled"}:
            raise self._failure(response.get("error") or {})
        if response.get("status") in {"queued", "in_progress"}:
            raise ValueError("a turn's answer is finished")
        self.finished = True
        for index, item in enumerate(response.get("output") or ()):
            if index not in self._done:
                yield from self._item_done(index, item)
        usage = response.get("usage")
        tier = _string(response.get("service_tier"))
        yield TurnFinished(self._reason(response), _usage(usage) if usage else None, tier)

    def _reason(self, response: Json) -> Literal["stop", "length", "tool_calls", "content_filter"]:
        if response.get("status") == "incomplete":
            why = (response.get("incomplete_details") or {}).get("reason")
            return "content_filter" if why == "content_filter" else "length"
        return "tool_calls" if self._calls else "stop"


def _string(value: object) -> str:
    """A string of the upstream's, "" for null; TypeError for anything else, which no event can carry."""
    if value is not None and not isinstance(value, str):
        raise TypeError("not a string")
    return value or ""


def _object(value: object) -> str:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return orjson.dumps(value).decode()


def _logprob(token: Json) -> TokenLogprob:
    known = token.get("bytes")
    return TokenLogprob(
        token=_string(token["token"]),
        logprob=float(token["logprob"]),
        bytes=tuple(map(int, known)) if known is not None else None,
        top=tuple(_logprob(other) for other in token.get("top_logprobs") or ()),
    )


def _usage(usage: Json) -> Usage:
    read, written = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    counted = int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0)
    return Usage(
        *counted,
        total_tokens=int(usage.get("total_tokens") or sum(counted)),
        cached_tokens=int(read.get("cached_tokens") or 0),
        cache_write_tokens=int(read.get("cache_write_tokens") or 0),
        reasoning_tokens=int(written.get("reasoning_tokens") or 0),
    )
