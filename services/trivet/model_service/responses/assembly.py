"""A response that is put together from the turns of a model and from items of the gateway's own.

Whatever it is made of, its stream is one: numbers without gaps, items in one order, one beginning and one end. All of it can be
restored from the events that were kept, so that another process can go on with it.
"""

import time
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Final

import orjson

from trivet.kernel.codec.runs import runs_of
from trivet.kernel.errors import ServiceError
from trivet.model.v1 import response_event_body_pb2 as body
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response, ResponseUsage
from trivet.model_service.faces.responses_failure import failure_events
from trivet.model_service.faces.responses_interrupted import InterruptedItem

BEGINNINGS: Final = frozenset({"created", "queued", "in_progress"})
"""The events that tell how a response begins, by their names in `ResponseEvent`."""

ENDS: Final = frozenset({"completed", "incomplete", "failed"})
"""The events of which one ends a response, named as the status with which it does; a cancelled one ends as incomplete."""

_FRAME: Final = BEGINNINGS | ENDS
_RUNS: Final = runs_of(ResponseEvent.DESCRIPTOR)
_DETAILS: Final = ("input_tokens_details", "output_tokens_details")


class Assembly:
    """The response so far, in `response`, which begins as it was told at creation; every method yields events to send on."""

    def __init__(self, told: Response) -> None:
        self.response = told
        self.ended = False
        self.next_number = 0
        """The number of the next event: who makes that counts on, or has it given its number by `number`."""
        self._items = 0
        self._seen: set[str] = set()
        self._interrupted: dict[int, InterruptedItem] = {}

    @classmethod
    def restored(cls, told: Response, events: Iterable[ResponseEvent]) -> "Assembly":
        """The response as its events so far, from the first one on, left it."""
        unmake(told)
        assembly = cls(told)
        for event in events:
            assembly._recall(event)
        return assembly

    @property
    def last_number(self) -> int:
        """The number of the last event; -1 before the first."""
        return self.next_number - 1

    @property
    def interrupted(self) -> list[Item]:
        """The items that a restored response has begun and not done, as far as they came."""
        return [item.item for item in self._interrupted.values()]

    # ---- its course ------------------------------------------------------------------------------------------------

    def begin(self, *, queued: bool = False) -> list[ResponseEvent]:
        """The events that come first, as far as they have not come yet."""
        self.response.status = "queued" if queued else "in_progress"
        kinds = ("created", "queued") if queued else ("created", "in_progress")
        return [self._snapshot(kind) for kind in kinds if kind not in self._seen]

    def end(self, like: Response) -> list[ResponseEvent]:
        """The event that ends the response with the status of `like`, and the reason that it tells."""
        self.response.status = like.status if like.status in ENDS else "completed"
        if like.HasField("incomplete_details"):
            self.response.incomplete_details.CopyFrom(like.incomplete_details)
        if like.HasField("error"):
            self.response.error.CopyFrom(like.error)
        if self.response.status == "completed":
            self.response.completed_at = int(time.time())
        self.ended = True
        return [self._snapshot(self.response.status)]

    def fail(self, error: ServiceError) -> list[ResponseEvent]:
        """The events that end the response with `error`."""
        self.ended = True
        begun = self.begin()
        return [*begun, *map(self.number, failure_events(self.response, error, count()))]

    def cancel(self) -> list[ResponseEvent]:
        """The event that ends a cancelled response: the API has none of that name, so it is one that is incomplete."""
        self.ended = True
        self.response.status = "cancelled"
        return [self._snapshot("incomplete")]

    def close_interrupted(self) -> list[ResponseEvent]:
        """The events that end the items that were begun and not done: they stay as they are, incomplete."""
        events = [event for index in sorted(self._interrupted) for event in self._interrupted[index].close()]
        self._interrupted.clear()
        for event in events:
            self.number(event)
            if event.HasField("output_item_done"):
                self.response.output.append(event.output_item_done.item)
        return events

    def add_usage(self, usage: ResponseUsage) -> None:
        """Add what one turn took."""
        total = self.response.usage
        for field, value in usage.ListFields():
            if field.name in _DETAILS:
                sums = getattr(total, field.name)
                for detail, count in value.ListFields():
                    if isinstance(count, int):
                        setattr(sums, detail.name, getattr(sums, detail.name) + count)
            elif isinstance(value, int):
                setattr(total, field.name, getattr(total, field.name) + value)
        total.SetInParent()

    # ---- its items -------------------------------------------------------------------------------------------------

    def open(self, item: Item) -> tuple[int, ResponseEvent]:
        """Begin an item: its place in the output, and the event that says so."""
        index = self._items
        self._items += 1
        added = body.OutputItemEvent(output_index=index, item=item, sequence_number=self.next_number)
        self.next_number += 1
        return index, ResponseEvent(output_item_added=added)

    def reopen(self, item_id: str) -> InterruptedItem | None:
        """Take up an interrupted item, which then is not closed by `close_interrupted`; None if it is none."""
        for index, interrupted in self._interrupted.items():
            if interrupted.item_id == item_id:
                return self._interrupted.pop(index)
        return None

    def done(self, index: int, item: Item) -> ResponseEvent:
        """End an item: the event that says so."""
        self.response.output.append(item)
        done = body.OutputItemEvent(output_index=index, item=item, sequence_number=self.next_number)
        self.next_number += 1
        return ResponseEvent(output_item_done=done)

    def number(self, event: ResponseEvent) -> ResponseEvent:
        """Give `event`, which is no run, the next number."""
        kind = event.WhichOneof("event")
        if kind == "unknown":
            event.unknown = orjson.dumps(orjson.loads(event.unknown) | {"sequence_number": self.next_number}).decode()
        elif kind is not None:
            getattr(event, kind).sequence_number = self.next_number
        self.next_number += 1
        return event

    def _snapshot(self, kind: str) -> ResponseEvent:
        self._seen.add(kind)
        told: Any = {kind: body.ResponseSnapshotEvent(response=self.response, sequence_number=self.next_number)}
        self.next_number += 1
        return ResponseEvent(**told)

    def _recall(self, event: ResponseEvent) -> None:
        kind = event.WhichOneof("event") or ""
        said = orjson.loads(event.unknown) if kind == "unknown" else getattr(event, kind)
        self.next_number = (said["sequence_number"] if kind == "unknown" else said.sequence_number) + 1
        self._seen.add(kind)
        if kind in ENDS:
            self.ended = True
            self.response.CopyFrom(said.response)
        elif kind == "output_item_added":
            self._items = said.output_index + 1
            self._interrupted[said.output_index] = InterruptedItem(said.output_index, said.item)
        elif kind == "output_item_done":
            self._interrupted.pop(said.output_index, None)
            self.response.output.append(said.item)
        elif kind not in BEGINNINGS and hasattr(said, "output_index") and said.output_index in self._interrupted:
            self._interrupted[said.output_index].take(kind, said)


def unmake(response: Response) -> None:
    """Take from a response what has come of it since it began."""
    for name in ("output", "usage", "error", "incomplete_details", "completed_at"):
        response.ClearField(name)


class TurnSplice:
    """Fits one turn's events into an assembly. Items for which `withheld` says so stay out of it, for the caller to look at.

    `calls` are the withheld items, once they are done; `response` is the turn's own at its end, None before.
    """

    def __init__(self, assembly: Assembly, withheld: Callable[[Item], bool] = lambda _: False) -> None:
        self._assembly = assembly
        self._withheld = withheld
        self._places: dict[int, int | None] = {}
        self.calls: list[Item] = []
        self.response: Response | None = None

    def pass_on(self, events: Iterable[ResponseEvent]) -> list[ResponseEvent]:
        """What the assembly says for the next events of the turn; its beginning and its end are not the response's."""
        passed: list[ResponseEvent] = []
        for event in events:
            kind = event.WhichOneof("event")
            if kind is None:
                continue
            said: Any = getattr(event, kind)
            if kind in _FRAME:
                # Which provider serves is only known when it does.
                self._assembly.response.provider = said.response.provider or self._assembly.response.provider
                self.response = said.response if kind in ENDS else None
                continue
            if kind == "output_item_added":
                told = self._added(said)
            elif kind == "output_item_done":
                told = self._done(said)
            elif kind == "unknown":
                told = self._unknown(event)
            else:
                told = self._about(kind, said, event)
            if told is not None:
                passed.append(told)
        return passed

    def _about(self, kind: str, said: Any, event: ResponseEvent) -> ResponseEvent | None:
        if hasattr(said, "output_index"):
            place = self._places.get(said.output_index)
            if place is None:
                return None
            said.output_index = place
        assembly = self._assembly
        said.sequence_number = assembly.next_number
        assembly.next_number += _RUNS.size(event) if kind in _RUNS.kinds else 1
        return event

    def _unknown(self, event: ResponseEvent) -> ResponseEvent | None:
        said = orjson.loads(event.unknown)
        if "output_index" in said:
            place = self._places.get(said["output_index"])
            if place is None:
                return None
            event.unknown = orjson.dumps(said | {"output_index": place}).decode()
        return self._assembly.number(event)

    def _added(self, said: body.OutputItemEvent) -> ResponseEvent | None:
        if self._withheld(said.item):
            self._places[said.output_index] = None
            return None
        self._places[said.output_index], event = self._assembly.open(said.item)
        return event

    def _done(self, said: body.OutputItemEvent) -> ResponseEvent | None:
        place = self._places.get(said.output_index)
        if place is None:
            self.calls.append(said.item)
            return None
        return self._assembly.done(place, said.item)
