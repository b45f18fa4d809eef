"""The events of a turn as a whole response, for who does not ask for a stream.

Its output is what `ResponseRenderer` would have streamed, without any of the messages that a stream is made of.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trivet.model.v1 import response_content_pb2 as content
from trivet.model.v1 import response_item_pb2 as pb
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    HostedItem,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    TextRun,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)
from trivet.model_service.faces.responses_finish import finish
from trivet.model_service.faces.responses_message import logprob_of
from trivet.model_service.faces.responses_output import is_object
from trivet.model_service.faces.upstream_json import read_upstream_json

_Names = Mapping[str, tuple[str, str]]


def one_text(events: Sequence[TurnEvent]) -> tuple[str, TurnFinished] | None:
    """The text and the end of a whole turn that is one text and nothing else, as most are; None for any other."""
    if len(events) != 3 or not isinstance(said := events[1], TextDelta) or said.logprobs:
        return None
    return (said.text, end) if isinstance(end := events[2], TurnFinished) else None


def answer_in_one_text(told: Response, events: Sequence[TurnEvent]) -> bool:
    """Makes `told` the response of a whole turn that is one text and nothing else. Any other turn is left: False."""
    found = one_text(events)
    if found is None:
        return False
    text, end = found
    message = told.output.add().message
    message.id, message.role = new_id("msg"), "assistant"
    message.content.parts.parts.add().output_text.text = text
    finish(told, end)
    message.status = told.status
    return True


class WholeResponse:
    """Gathers one turn into `response`, which begins as `told`, and is whole after the turn's last event.

    `names` tells the namespace and own name of functions that have one.
    """

    def __init__(self, told: Response, names: _Names) -> None:
        self.response = told
        self._names = names
        self._items: list[_Gathered] = []
        self._calls: dict[int, int] = {}
        # Of the items, those from here on are open. Others wait behind the first, however much there is of them: see the renderer.
        self._open = 0

    def add(self, events: Iterable[TurnEvent]) -> None:
        """Takes the next events."""
        for event in events:
            match event:
                case TurnStarted() | TextDelta("", ()) | RefusalDelta("") | ReasoningDelta(""):
                    pass
                case TurnFinished():
                    self._finish(event)
                case _:
                    if (item := self._item_of(event)) is not None:
                        item.take(event)
                        if item.ended or self._open < len(self._items) - 1:
                            self._close_whole_ones()

    def _item_of(self, event: TurnEvent) -> "_Gathered | None":
        """The item that `event` belongs to; None for a piece of what is closed."""
        last = self._items[-1] if self._open < len(self._items) else None
        match event:
            case TextDelta() | TextRun() | RefusalDelta() | AnnotationAdded():
                return last if isinstance(last, _Message) else self._begin(_Message(self.response.output.add()))
            case ReasoningDelta():
                return last if _thinks_on(last) else self._begin(_Reasoning(self.response.output.add()))
            case ReasoningEnded(encrypted):
                if _thinks_on(last):
                    return last
                return self._begin(_Reasoning(self.response.output.add())) if encrypted else None
            case ToolCallStarted():
                self._calls[event.index] = len(self._items)
                return self._begin(
                    (_CustomCall if event.kind == "custom" else _FunctionCall)(self.response.output.add(), event, self._names)
                )
            case ToolCallDelta():
                place = self._calls.get(event.index, -1)
                return self._items[place] if place >= self._open else None
            case HostedItem():
                return self._begin(_Hosted(self.response.output.add(), event))
            case _:
                return None

    def _begin(self, item: "_Gathered") -> "_Gathered":
        self._items.append(item)
        return item

    def _close_whole_ones(self) -> None:
        last = len(self._items) - 1
        while self._open <= last:
            first = self._items[self._open]
            if not (first.ended or (self._open < last and first.can_end)):
                return
            self._open += 1

    def _finish(self, event: TurnFinished) -> None:
        finish(self.response, event)
        last, ending = len(self._items) - 1, self.response.status
        for place, item in enumerate(self._items):
            # Only the last one can be cut short.
            item.end(ending if place == last and place >= self._open else "completed")


class _Gathered:
    """An item of the output. `ended`: nothing more can come. `can_end`: nothing more has to."""

    ended = False

    @property
    def can_end(self) -> bool:
        return True

    def take(self, event: Any) -> None:
        """Takes one event that belongs to it."""
        raise NotImplementedError

    def end(self, status: str) -> None:
        """Makes the item whole."""
        raise NotImplementedError


class _Message(_Gathered):
    """The model's message: texts and refusals, each run of one kind a part."""

    def __init__(self, item: pb.Item) -> None:
        self._message = item.message
        self._message.id = new_id("msg")
        self._message.role = "assistant"
        self._parts = self._message.content.parts.parts
        self._text: content.OutputText | None = None
        self._refusal: content.Refusal | None = None
        self._pieces: list[str] = []

    def take(self, event: Any) -> None:
        if isinstance(event, RefusalDelta):
            if self._refusal is None:
                if self._text is not None:
                    self._end_part()
                self._refusal = self._parts.add().refusal
            self._pieces.append(event.text)
            return
        if self._text is None:
            if self._refusal is not None:
                self._end_part()
            self._text = self._parts.add().output_text
        if isinstance(event, TextDelta):
            self._pieces.append(event.text)
            if event.logprobs:
                self._text.logprobs.extend(map(logprob_of, event.logprobs))
        elif isinstance(event, TextRun):
            self._pieces += event.texts
        else:
            self._text.annotations.append(read_upstream_json(content.Annotation, event.raw))

    def end(self, status: str) -> None:
        self._end_part()
        self._message.status = status

    def _end_part(self) -> None:
        if self._text is not None:
            self._text.text = "".join(self._pieces)
        elif self._refusal is not None:
            self._refusal.refusal = "".join(self._pieces)
        self._text = self._refusal = None
        self._pieces.clear()


class _Reasoning(_Gathered):
    """What the model thought: its own text, and summaries, each run of one of them a part."""

    def __init__(self, item: pb.Item) -> None:
        self._reasoning = item.reasoning
        self._reasoning.id = new_id("rs")
        self._part: content.ContentPart | None = None
        self._summary: int | None = None
        self._pieces: list[str] = []

    def take(self, event: Any) -> None:
        if isinstance(event, ReasoningEnded):
            self.ended = True
            if event.encrypted:
                self._reasoning.encrypted_content = event.encrypted
            return
        if self._part is None or self._summary != event.summary_index:
            self._end_part()
            self._summary = event.summary_index
            self._part = (self._reasoning.content if self._summary is None else self._reasoning.summary).add()
        self._pieces.append(event.text)

    def end(self, status: str) -> None:
        self._end_part()
        self._reasoning.status = status

    def _end_part(self) -> None:
        if self._part is not None:
            text = self._part.reasoning_text if self._summary is None else self._part.summary_text
            text.text = "".join(self._pieces)
            self._pieces.clear()


class _FunctionCall(_Gathered):
    """A call of a function of the caller."""

    def __init__(self, item: pb.Item, call: ToolCallStarted, names: _Names) -> None:
        self._call = item.function_call
        _name(self._call, "fc", call, names)
        self._pieces: list[str] = []
        self._parses: bool | None = None

    @property
    def can_end(self) -> bool:
        if self._parses is None:
            self._parses = is_object(self._pieces)
        return self._parses

    def take(self, event: Any) -> None:
        if isinstance(event, ToolCallDelta) and event.arguments:
            self._pieces.append(event.arguments)
            self._parses = None

    def end(self, status: str) -> None:
        # Upstreams write nothing for a function without parameters; clients parse what they get.
        nothing = "{}" if status == "completed" else ""
        self._call.arguments = "".join(self._pieces) or nothing
        self._call.status = status


class _CustomCall(_Gathered):
    """A call of a tool of the caller that takes free text, which ends where the turn does."""

    def __init__(self, item: pb.Item, call: ToolCallStarted, names: _Names) -> None:
        self._call = item.custom_tool_call
        _name(self._call, "ctc", call, names)
        self._pieces: list[str] = []

    @property
    def can_end(self) -> bool:
        return False

    def take(self, event: Any) -> None:
        if isinstance(event, ToolCallDelta):
            self._pieces.append(event.arguments)

    def end(self, status: str) -> None:
        self._call.input, self._call.status = "".join(self._pieces), status


class _Hosted(_Gathered):
    """An item that came in one piece."""

    ended = True

    def __init__(self, item: pb.Item, event: HostedItem) -> None:
        item.CopyFrom(read_upstream_json(pb.Item, event.raw))

    def take(self, event: Any) -> None:
        pass

    def end(self, status: str) -> None:
        pass


def _thinks_on(item: _Gathered | None) -> bool:
    return isinstance(item, _Reasoning) and not item.ended


def _name(made: Any, prefix: str, call: ToolCallStarted, names: _Names) -> None:
    made.id, made.call_id = new_id(prefix), call.id
    space, made.name = names.get(call.name, ("", call.name))
    if space:
        made.namespace = space
