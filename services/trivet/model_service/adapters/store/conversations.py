"""The SQL of conversations and their items."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.schema import conversations, items
from trivet.model_service.domain.store import Order, StoredConversation, StoredItem

_owned = and_(conversations.c.id == bindparam("of_id"), conversations.c.owner == bindparam("of_owner"))
_in_it = items.c.conversation_id == bindparam("of_id")

_ADD = insert(conversations)
_GET = select(conversations.c.id, conversations.c.owner, conversations.c.created_at, conversations.c.metadata).where(_owned)
_SET = update(conversations).where(_owned).values(metadata=bindparam("to_metadata"), touched_at=bindparam("now"))
_DELETE = delete(conversations).where(_owned)
_DELETE_ITEMS = delete(items).where(_in_it)

_LOCK = select(conversations.c.end, conversations.c.owner).where(conversations.c.id == bindparam("of_id")).with_for_update()
_GROW = (
    update(conversations)
    .where(conversations.c.id == bindparam("of_id"))
    .values(
        end=conversations.c.end + bindparam("more"),
        size=conversations.c.size + bindparam("bytes"),
        touched_at=bindparam("now"),
    )
)
_THERE = select(items.c.id).where(_in_it, items.c.id.in_(bindparam("ids", expanding=True)))
_ADD_ITEMS = insert(items)
_ITEMS = select(items.c.id, items.c.data).where(_in_it)
_ALL = _ITEMS.order_by(items.c.position)
_one = and_(_in_it, items.c.id == bindparam("of_item"))
_ITEM = select(items.c.id, items.c.data, items.c.position).where(_one)
_DELETE_ITEM = delete(items).where(_one).returning(func.length(items.c.data))
_PAGE = {
    "asc": _ALL.where(items.c.position > bindparam("beyond")).limit(bindparam("most")),
    "desc": _ITEMS.where(items.c.position < bindparam("beyond")).order_by(items.c.position.desc()).limit(bindparam("most")),
}
_FROM_THE_FIRST = {"asc": -1, "desc": 2**62}


@dataclass(frozen=True, slots=True)
class Page:
    """Which items to list."""

    conversation_id: str
    after: str
    limit: int
    order: Order


@each
def add(connection: Connection, new: tuple[StoredConversation, Sequence[StoredItem]]) -> None:
    """Keep a new conversation with its first items."""
    conversation, first = new
    row = {
        "id": conversation.id,
        "owner": conversation.owner,
        "created_at": conversation.created_at,
        "touched_at": conversation.created_at,
        "end": len(first),
        "size": _bytes(first),
        "metadata": orjson.dumps(dict(conversation.metadata)),
    }
    connection.execute(_ADD, row)
    _insert(connection, (conversation.id, conversation.owner), first, 0)


@each
def get(connection: Connection, key: tuple[str, str]) -> StoredConversation | None:
    """The conversation of an id and owner."""
    row = connection.execute(_GET, {"of_id": key[0], "of_owner": key[1]}).one_or_none()
    return StoredConversation(row.id, row.owner, row.created_at, orjson.loads(row.metadata)) if row else None


@each
def set_metadata(connection: Connection, key: tuple[str, str, Mapping[str, str]]) -> bool:
    """Whether there was the conversation of an id and owner, whose notes now are these."""
    conversation_id, owner, notes = key
    values = {"of_id": conversation_id, "of_owner": owner, "to_metadata": orjson.dumps(dict(notes)), "now": _now()}
    return connection.execute(_SET, values).rowcount > 0


@each
def remove(connection: Connection, key: tuple[str, str]) -> bool:
    """Whether there was the conversation of an id and owner to delete."""
    there = connection.execute(_DELETE, {"of_id": key[0], "of_owner": key[1]}).rowcount > 0
    if there:
        connection.execute(_DELETE_ITEMS, {"of_id": key[0]})
    return there


@each
def add_items(connection: Connection, new: tuple[str, Sequence[StoredItem]]) -> bool:
    """Whether the items were added to a conversation: all, or none if one has the id of another."""
    conversation_id, added = new
    # Nobody else adds until the end of the transaction.
    there = connection.execute(_LOCK, {"of_id": conversation_id}).scalar() is not None
    if not there or len(_fresh(connection, conversation_id, added)) < len(added):
        return False
    append(connection, conversation_id, added)
    return True


def append(connection: Connection, conversation_id: str, added: Sequence[StoredItem]) -> None:
    """Add items to a conversation, if it is there; those whose ids are there are left out."""
    row = connection.execute(_LOCK, {"of_id": conversation_id}).one_or_none()
    if row is None or not (fresh := _fresh(connection, conversation_id, added)):
        return
    values = {"of_id": conversation_id, "more": len(fresh), "bytes": _bytes(fresh), "now": _now()}
    connection.execute(_GROW, values)
    _insert(connection, (conversation_id, row.owner), fresh, row.end)


def _fresh(connection: Connection, conversation_id: str, added: Sequence[StoredItem]) -> Sequence[StoredItem]:
    """Those of the items whose ids are not in the conversation, nor among those before them."""
    seen = set(connection.execute(_THERE, {"of_id": conversation_id, "ids": [item.id for item in added]}).scalars())
    fresh: list[StoredItem] = []
    for item in added:
        if item.id not in seen:
            seen.add(item.id)
            fresh.append(item)
    return fresh


def _insert(connection: Connection, into: tuple[str, str], added: Sequence[StoredItem], position: int) -> None:
    """Add items to a conversation, which is given as its id and its owner."""
    conversation_id, owner = into
    if added:
        connection.execute(
            _ADD_ITEMS,
            [
                {"conversation_id": conversation_id, "position": number, "owner": owner, "id": item.id, "data": item.data}
                for number, item in enumerate(added, position)
            ],
        )


@each
def all_items(connection: Connection, conversation_id: str) -> Sequence[StoredItem]:
    """All items of a conversation."""
    return [StoredItem(*row) for row in connection.execute(_ALL, {"of_id": conversation_id})]


@each
def page(connection: Connection, asked: Page) -> Sequence[StoredItem] | None:
    """The items of a page; None if there is none to begin after."""
    beyond = _FROM_THE_FIRST[asked.order]
    if asked.after:
        row = connection.execute(_ITEM, {"of_id": asked.conversation_id, "of_item": asked.after}).one_or_none()
        if row is None:
            return None
        beyond = row.position
    values = {"of_id": asked.conversation_id, "beyond": beyond, "most": asked.limit}
    return [StoredItem(*row) for row in connection.execute(_PAGE[asked.order], values)]


@each
def one_item(connection: Connection, key: tuple[str, str]) -> StoredItem | None:
    """The item of a conversation and an id."""
    row = connection.execute(_ITEM, {"of_id": key[0], "of_item": key[1]}).one_or_none()
    return StoredItem(row.id, row.data) if row else None


@each
def remove_item(connection: Connection, key: tuple[str, str]) -> bool:
    """Whether there was the item of a conversation and an id to delete."""
    # The conversation first, as everywhere: no two transactions wait for each other.
    connection.execute(_LOCK, {"of_id": key[0]})
    size = connection.execute(_DELETE_ITEM, {"of_id": key[0], "of_item": key[1]}).scalar()
    if size is not None:
        connection.execute(_GROW, {"of_id": key[0], "more": 0, "bytes": -size, "now": _now()})
    return size is not None


def _bytes(added: Sequence[StoredItem]) -> int:
    return sum(len(item.data) for item in added)


def _now() -> int:
    return int(time.time())
