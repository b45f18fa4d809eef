"""Lets a connection go on from the last response it was given that is kept nowhere else."""

from dataclasses import dataclass
from typing import Final

from trivet.model.v1.response_content_pb2 import MessageContent
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_item_pb2 import Item, ItemList, Message, ResponseInput
from trivet.model.v1.response_request_pb2 import CreateResponseRequest

_SUCCEEDED: Final = frozenset({"completed", "incomplete"})


@dataclass(frozen=True)
class _Unkept:
    """A response that is not stored: `base` is the stored one that it went on from, `items` what came after that."""

    response_id: str
    base: str
    items: ItemList


class Turn:
    """One response of a connection; `continued` is the id of the unkept one that it goes on from, "" if there is none."""

    def __init__(self, memory: "Memory", request: CreateResponseRequest, continued: str) -> None:
        self.continued = continued
        self._memory = memory
        self._base = request.previous_response_id
        kept = not request.HasField("store") or request.store or request.HasField("conversation")
        # Copied before the call: in one process, the service has the very message.
        self._items = None if kept else _items_of(request.input)

    def passed(self, event: ResponseEvent) -> None:
        """Note an event of the response: what ends it well makes it the one to go on from."""
        kind = event.WhichOneof("event")
        if self._items is not None and kind in _SUCCEEDED:
            response = getattr(event, kind).response
            self._items.items.extend(response.output)
            self._memory.remember(_Unkept(response.id, self._base, self._items))


class Memory:
    """What a connection remembers: one response, if it takes no more than `most_bytes`.

    A response that goes on from it takes its place, or, when it fails, leaves nothing to go on from.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._latest: _Unkept | None = None

    def begin(self, request: CreateResponseRequest) -> Turn:
        """Give `request` all that it goes on from, where only this connection knows that."""
        latest = self._latest
        if latest is None or request.previous_response_id != latest.response_id:
            return Turn(self, request, "")
        self._latest = None
        # What is to be refused must stay as it is: a request without input, or one that goes on from two things.
        if request.HasField("input") and not request.HasField("conversation"):
            _put_before(request, latest)
        return Turn(self, request, latest.response_id)

    def forget(self, response_id: object) -> None:
        """Going on from this one failed before it began."""
        if self._latest is not None and response_id == self._latest.response_id:
            self._latest = None

    def remember(self, unkept: _Unkept) -> None:
        """Make this the response to go on from."""
        self._latest = unkept if unkept.items.ByteSize() <= self._most_bytes else None


def _put_before(request: CreateResponseRequest, earlier: _Unkept) -> None:
    own = _items_of(request.input)
    request.input.items.CopyFrom(earlier.items)
    request.input.items.items.extend(own.items)
    request.previous_response_id = earlier.base
    if not earlier.base:
        request.ClearField("previous_response_id")


def _items_of(given: ResponseInput) -> ItemList:
    """A copy of an input as items."""
    if given.WhichOneof("kind") == "text":
        message = Message(role="user", content=MessageContent(text=given.text))
        return ItemList(items=[Item(message=message)])
    items = ItemList()
    items.CopyFrom(given.items)
    return items
