"""What answers of each provider type may hold: features, and what faces show of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trivet.model_service.domain.turn import (
    AnnotationAdded,
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
Events = Sequence[TurnEvent]

CITED = "https://example.com/cited"
CITATION = '{"type":"url_citation","url":"https://example.com/cited","title":"C","start_index":0,"end_index":5}'


@dataclass(frozen=True)
class Answer:
    """Something that an answer may hold: how a turn tells it, and what of it stands in the JSON of each face.

    `shown` and `shown_in_chat` are texts of which all must be there; an empty one: that face has no place for it.
    """

    name: str
    is_told: Callable[[Events], bool]
    events: Events
    shown: tuple[str, ...]
    shown_in_chat: tuple[str, ...]


def _finished(events: Events) -> TurnFinished:
    last = events[-1]
    assert isinstance(last, TurnFinished)
    return last


def _usage(events: Events) -> Usage:
    return _finished(events).usage or Usage()


def _has(kind: type, **wanted: Any) -> Callable[[Events], bool]:
    return lambda events: any(
        isinstance(event, kind) and all(getattr(event, name) == value for name, value in wanted.items()) for event in events
    )


def _calls(events: Events) -> list[tuple[str, str]]:
    names = {event.index: event.name for event in events if isinstance(event, ToolCallStarted)}
    return [
        (name, "".join(e.arguments for e in events if isinstance(e, ToolCallDelta) and e.index == index))
        for index, name in names.items()
    ]


def _is_call(count: int) -> Callable[[Events], bool]:
    def judge(events: Events) -> bool:
        calls = _calls(events)
        shaped = all(name == "get_weather" and "Paris" in arguments for name, arguments in calls)
        return len(calls) == count and shaped and _finished(events).reason == "tool_calls"

    return judge


def _counts(name: str) -> Callable[[Events], bool]:
    return lambda events: bool(getattr(_usage(events), name) == 7)


def _ended(reason: Any) -> Callable[[Events], bool]:
    return lambda events: _finished(events).reason == reason


_TEXT = TextDelta("Paris")
_CALL = (ToolCallStarted(0, "call_1", "get_weather"), ToolCallDelta(0, '{"city":"Paris"}'))
_SECOND = (ToolCallStarted(1, "call_2", "get_weather"), ToolCallDelta(1, '{"city":"Paris"}'))
_DONE = TurnFinished("stop", Usage(10, 2, 12))
_LOGPROB = TokenLogprob("Paris", -0.5, (80,))


def _counted(**counts: int) -> Events:
    return _TEXT, TurnFinished("stop", Usage(10, 9, 19, **counts))


ANSWERS = [
    Answer("text", _has(TextDelta, text="Paris"), (_TEXT, _DONE), ('"Paris"',), ('"Paris"',)),
    Answer("a tool call", _is_call(1), (*_CALL, TurnFinished("tool_calls")), ("function_call", "get_weather"), ("tool_calls", "get_weather")),
    Answer("several tool calls", _is_call(2), (*_CALL, *_SECOND, TurnFinished("tool_calls")), ("call_1", "call_2"), ("call_1", "call_2")),
    Answer("reasoning", lambda events: any(isinstance(event, ReasoningDelta) and "Hmm" in event.text for event in events),
           (ReasoningDelta("Hmm"), ReasoningEnded(), _TEXT, _DONE), ("reasoning_text", "Hmm"), ("reasoning_content", "Hmm")),
    Answer("reasoning that only the provider reads", lambda events: any(isinstance(event, ReasoningEnded) and event.encrypted for event in events),
           (ReasoningEnded("trivet:x:y:sealed"), _TEXT, _DONE), ("encrypted_content", "sealed"), ("reasoning_details", "sealed")),
    Answer("citations", lambda events: any(isinstance(event, AnnotationAdded) and CITED in event.raw for event in events),
           (_TEXT, AnnotationAdded(CITATION), _DONE), ("url_citation", CITED), ("url_citation", CITED)),
    Answer("log probabilities", lambda events: any(isinstance(event, TextDelta) and event.logprobs for event in events),
           (TextDelta("Paris", (_LOGPROB,)), _DONE), ("-0.5",), ("-0.5",)),
    Answer("a refusal", _has(RefusalDelta, text="I won't."), (RefusalDelta("I won't."), _DONE), ("refusal", "I won't."), ("refusal", "I won't.")),
    Answer("cut off at the limit", _ended("length"), (_TEXT, TurnFinished("length")), ("incomplete", "max_output_tokens"), ('"length"',)),
    Answer("stopped for safety", _ended("content_filter"), (_TEXT, TurnFinished("content_filter")), ("incomplete", "content_filter"), ("content_filter",)),
    Answer("tokens", lambda events: _usage(events).total_tokens > 0, (_TEXT, _DONE), ('"total_tokens":12',), ('"total_tokens":12',)),
    Answer("tokens read from a cache", _counts("cached_tokens"), _counted(cached_tokens=7), ('"cached_tokens":7',), ('"cached_tokens":7',)),
    Answer("tokens written to a cache", _counts("cache_write_tokens"), _counted(cache_write_tokens=7), ('"cache_write_tokens":7',), ('"cache_write_tokens":7',)),
    Answer("tokens of reasoning", _counts("reasoning_tokens"), _counted(reasoning_tokens=7), ('"reasoning_tokens":7',), ('"reasoning_tokens":7',)),
]  # fmt: skip
"""The features, with the events that tell them."""

STARTED = TurnStarted(id="up_1", model="m", created=1)
