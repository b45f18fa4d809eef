"""The SQL by which items are found that an owner refers to, wherever they are kept."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import CTE, Connection, column, select, values

from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.responses import GET, LIVING, response_of
from trivet.model_service.adapters.store.schema import Name, held_items, items, responses
from trivet.model_service.domain.store import StoredItem, StoredResponse

# A statement can't have any number of parameters.
_AT_ONCE = 1_000


@each
def holders(connection: Connection, asked: tuple[Collection[str], str]) -> Mapping[str, StoredResponse]:
    """The newest response of an owner that has each of these items, by the item's id."""
    item_ids, owner = asked
    found: dict[str, StoredResponse] = {}
    for wanted in _wanted(item_ids):
        # The newest of each by the index: however many have an item, one is read.
        newest = (
            select(held_items.c.response_id)
            .join(responses, responses.c.id == held_items.c.response_id)
            .where(held_items.c.owner == owner, held_items.c.item_id == wanted.c.id, LIVING)
            .order_by(held_items.c.position.desc())
            .limit(1)
            .scalar_subquery()
        )
        rows = connection.execute(select(wanted.c.id, newest.label("response_id")))
        held = {row.id: row.response_id for row in rows if row.response_id is not None}
        known = {row.id: response_of(row) for row in connection.execute(GET, {"ids": sorted(set(held.values()))})}
        found |= {name: replace(known[of], request=b"") for name, of in held.items() if of in known}
    return found


@each
def conversation_items(connection: Connection, asked: tuple[Collection[str], str]) -> Sequence[StoredItem]:
    """Those of these items that are in a conversation of an owner."""
    item_ids, owner = asked
    found: list[StoredItem] = []
    for wanted in _wanted(item_ids):
        one = select(items.c.data).where(items.c.owner == owner, items.c.id == wanted.c.id).limit(1).scalar_subquery()
        rows = connection.execute(select(wanted.c.id, one.label("data")))
        found.extend(StoredItem(row.id, row.data) for row in rows if row.data is not None)
    return found


def _wanted(item_ids: Collection[str]) -> Iterator[CTE]:
    """These ids as tables of one column, `id`."""
    names = list(dict.fromkeys(item_ids))
    for first in range(0, len(names), _AT_ONCE):
        rows = [(name,) for name in names[first : first + _AT_ONCE]]
        yield values(column("id", Name), name="wanted").data(rows).cte("wanted")
