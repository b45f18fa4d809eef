"""What the store keeps of responses and conversations, as bytes and back."""

from collections.abc import Iterable, Sequence
from typing import Final

from trivet.kernel.codec.runs import without_runs
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_item_pb2 import Item, ItemList
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.store import ResponseStore, StoredEvents, StoredItem, StoredResponse
from trivet.model_service.responses.item_ids import item_id

ENDED: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
"""The statuses of a response that has ended."""

PIECE_BYTES: Final = 256 * 1024
"""How large several events that are stored as one may be: a reader has them in memory as a whole."""


def pack_items(items: Iterable[Item]) -> bytes:
    """Items as the input of a stored response."""
    return ItemList(items=items).SerializeToString()


def unpack_items(data: bytes) -> list[Item]:
    """The items of such an input."""
    return list(ItemList.FromString(data).items)


def response_of(stored: StoredResponse) -> Response:
    """A stored response as it stands now."""
    return Response.FromString(stored.response)


def stored_item(item: Item) -> StoredItem:
    """An item of a conversation, to be kept."""
    return StoredItem(item_id(item), item.SerializeToString())


def item_of(stored: StoredItem) -> Item:
    """An item of a conversation."""
    return Item.FromString(stored.data)


def stored_events(events: Sequence[ResponseEvent], first: int) -> StoredEvents:
    """Events that are to be kept together, the first of which has the number `first`."""
    return StoredEvents(first, first + len(events) - 1, ResponseEventBatch(events=events).SerializeToString())


def events_of(stored: Iterable[StoredEvents]) -> list[ResponseEvent]:
    """The events of some batches."""
    return [event for batch in stored for event in without_runs(ResponseEventBatch.FromString(batch.data), "events").events]


async def all_events(store: ResponseStore, response_id: str) -> list[ResponseEvent]:
    """All stored events of a response."""
    found: list[ResponseEvent] = []
    after = -1
    while page := await store.events(response_id, after):
        found += events_of(page)
        after = page[-1].last
    return found
