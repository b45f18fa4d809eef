"""Renders the events of a turn as a response, streamed or whole."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from trivet.kernel.codec.runs import More
from trivet.kernel.errors import ServiceError
from trivet.model.v1 import response_pb2 as pb
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
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
from trivet.model_service.faces.responses_failure import failure_events
from trivet.model_service.faces.responses_finish import ending_of, finish
from trivet.model_service.faces.responses_message import MessageOutput
from trivet.model_service.faces.responses_output import (
    CustomCallOutput,
    FunctionCallOutput,
    HostedOutput,
    OutputItem,
)
from trivet.model_service.faces.responses_reasoning import ReasoningOutput
from trivet.model_service.faces.responses_telling import Telling


class ResponseRenderer:
    """Renders one turn. `response` begins as `told` and is what the events so far amount to, whole after the last one.

    `names` tells the namespace and own name of functions that have one.

    Items follow one another in the stream although an upstream may mix them (calls made in parallel): the first one
    that is not closed streams, the others wait with their events. It is closed when another one waits and nothing more
    of it can come.
    """

    def __init__(self, told: pb.Response, names: Mapping[str, tuple[str, str]], more: More | None = None) -> None:
        """`more` takes texts that need no message, where nobody has to see one."""
        self._more = more
        self.response = told
        self.started = False
        self._names = names
        self._telling = Telling()
        self._queue: deque[OutputItem] = deque()
        self._calls: dict[int, OutputItem] = {}

    def batch(self, events: Sequence[TurnEvent]) -> ResponseEventBatch | None:
        """The message of the stream for the next events of the turn; None where they show nothing."""
        if len(events) == 1 and len(self._queue) == 1 and isinstance(run := events[0], TextRun) and self._queue[0].says_text:
            # What nearly all messages are.
            self._queue[0].tell(run.texts)
        else:
            for event in events:
                self._tell(event)
        return self._telling.take()

    def more(self, texts: list[str]) -> bool:
        """See `Words.more`."""
        if not texts:
            return True
        if self._more is None or len(self._queue) != 1 or not self._queue[0].says_text or not self._more(texts):
            return False
        self._queue[0].told(texts)
        return True

    def render(self, events: Iterable[TurnEvent]) -> list[ResponseEvent]:
        """The events of the stream for the next ones of the turn."""
        for event in events:
            self._tell(event)
        return self._told()

    def fail(self, error: ServiceError) -> list[ResponseEvent]:
        """The events that end the stream of a turn that raised `error`."""
        self._close_all("incomplete")
        return [*self._told(), *failure_events(self.response, error, iter(self._telling.number, None))]

    def _told(self) -> list[ResponseEvent]:
        batch = self._telling.take()
        return list(batch.events) if batch is not None else []

    def _tell(self, event: TurnEvent) -> None:
        match event:
            case TurnStarted():
                if not self.started:
                    self.started = True
                    self._tell_snapshot("created")
                    self._tell_snapshot("in_progress")
            case TurnFinished():
                self._finish(event)
            case TextDelta("", ()) | RefusalDelta("") | ReasoningDelta(""):
                pass
            case _:
                self._deliver(event)

    def _deliver(self, event: TurnEvent) -> None:
        item = self._item_of(event)
        if item is None:
            return
        item.waiting.append(event)
        self._show_first()
        while self._queue and (self._queue[0].ended or (len(self._queue) > 1 and self._queue[0].can_end)):
            self._close_first("completed")
            self._show_first()

    def _item_of(self, event: TurnEvent) -> OutputItem | None:
        """The item that `event` belongs to; None for a piece of what is closed."""
        last = self._queue[-1] if self._queue else None
        match event:
            case TextDelta() | TextRun() | RefusalDelta() | AnnotationAdded():
                return last if isinstance(last, MessageOutput) else self._begin(MessageOutput(self._telling))
            case ReasoningDelta():
                return last if _thinks_on(last) else self._begin(ReasoningOutput(self._telling))
            case ReasoningEnded(encrypted):
                if last is not None and _thinks_on(last):
                    return last
                return self._begin(ReasoningOutput(self._telling)) if encrypted else None
            case ToolCallStarted():
                made = CustomCallOutput if event.kind == "custom" else FunctionCallOutput
                self._calls[event.index] = self._begin(made(self._telling, event, self._names))
                return self._calls[event.index]
            case ToolCallDelta():
                call = self._calls.get(event.index)
                return call if call in self._queue else None
            case HostedItem():
                return self._begin(HostedOutput(self._telling, event))
            case _:
                return None

    def _begin(self, item: OutputItem) -> OutputItem:
        self._queue.append(item)
        return item

    def _show_first(self) -> None:
        """Opens the first item of the queue, if it is not open yet, and gives it the events that wait for it."""
        if not self._queue:
            return
        first = self._queue[0]
        if first.output_index < 0:
            first.open(len(self.response.output))
        for event in first.waiting:
            first.feed(event)
        first.waiting.clear()

    def _close_first(self, status: str) -> None:
        first = self._queue.popleft()
        first.close(status)
        self.response.output.append(first.item)

    def _close_all(self, status: str) -> None:
        """Closes every item; the last one with `status`, for only the last one can be cut short."""
        while self._queue:
            self._show_first()
            self._close_first(status if len(self._queue) == 1 else "completed")

    def _finish(self, event: TurnFinished) -> None:
        self._close_all(ending_of(event))
        finish(self.response, event)
        self._tell_snapshot("completed" if self.response.status == "completed" else "incomplete")

    def _tell_snapshot(self, kind: str) -> None:
        self._telling.add(kind).response.CopyFrom(self.response)


def _thinks_on(item: OutputItem | None) -> bool:
    """Whether more reasoning goes into this item; one that waits may have got its end, and is a thought of its own."""
    ended = item is None or item.ended or any(isinstance(event, ReasoningEnded) for event in item.waiting)
    return isinstance(item, ReasoningOutput) and not ended
