"""The events of a response's stream, made in the message that they are sent in."""

from typing import Any

from trivet.model.v1.response_event_pb2 import ResponseEventBatch


class Telling:
    """Makes the events of one stream, each with the next number. An event that is made elsewhere is copied where it is put in."""

    __slots__ = ("_batch", "_next")

    def __init__(self) -> None:
        self._batch = ResponseEventBatch()
        self._next = 0

    def number(self) -> int:
        """The number of the next event, which somebody else makes."""
        number = self._next
        self._next += 1
        return number

    def add(self, kind: str) -> Any:
        """What a new event says, to be filled in; `kind` is its field in `ResponseEvent`."""
        said = getattr(self._batch.events.add(), kind)
        said.sequence_number = self._next
        self._next += 1
        return said

    def skip(self, events: int) -> None:
        """So many more events have been told by the last one, which is a run."""
        self._next += events

    def take(self) -> ResponseEventBatch | None:
        """The events that were made since the last call; None if there are none."""
        batch = self._batch
        if not batch.events:
            return None
        self._batch = ResponseEventBatch()
        return batch
