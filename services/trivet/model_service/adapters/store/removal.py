"""The SQL by which responses and conversations go: deleted, expired, or too much."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, delete, exists, false, func, select, text, true, update

from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.responses import LIVING, UNFINISHED
from trivet.model_service.adapters.store.schema import conversations, events, items, responses, steps, work

# How many go in one transaction: others wait for it to end.
_RESPONSES_AT_ONCE = 100
_CONVERSATIONS_AT_ONCE = 20

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)

# ---- one -------------------------------------------------------------------------------------------------------------

_OWNED = select(responses.c.id).where(responses.c.id == bindparam("of_id"), responses.c.owner == bindparam("of_owner"), LIVING)
_FORGET = [delete(table).where(table.c.response_id.in_(_IDS)) for table in (work, events, steps)]
_BURY = (
    update(responses)
    .where(responses.c.id.in_(_IDS), responses.c.gone == false())
    .values(gone=true(), request=b"", size=func.length(responses.c.input) + func.length(responses.c.response))
)

# From tombstones that nobody goes on from up to the first that somebody else does.
_child = responses.alias("child")
_ancestor = responses.alias("ancestor")
_useless = (
    select(responses.c.id, responses.c.previous_id)
    .where(responses.c.id.in_(_IDS), responses.c.gone, ~exists().where(_child.c.previous_id == responses.c.id))
    .cte("useless", recursive=True)
)
_useless = _useless.union_all(
    select(_ancestor.c.id, _ancestor.c.previous_id)
    .join(_useless, _ancestor.c.id == _useless.c.previous_id)
    .where(
        _ancestor.c.gone,
        select(func.count()).select_from(_child).where(_child.c.previous_id == _ancestor.c.id).scalar_subquery() == 1,
    )
)
_PRUNE = delete(responses).where(responses.c.id.in_(select(_useless.c.id))).returning(responses.c.id, responses.c.previous_id)


@each
def delete_response(connection: Connection, key: tuple[str, str]) -> bool:
    """Whether the response of an id and owner was there to be deleted."""
    found = connection.execute(_OWNED, {"of_id": key[0], "of_owner": key[1]}).scalar()
    return found is not None and _bury(connection, [found]) > 0


def _bury(connection: Connection, ids: Sequence[str]) -> int:
    """Make tombstones of responses, and remove each tombstone that nobody goes on from; how many went."""
    # Work first, as everywhere: no two transactions wait for each other.
    for forget in _FORGET:
        connection.execute(forget, {"ids": ids})
    buried = connection.execute(_BURY, {"ids": ids}).rowcount
    candidates = set(ids)
    while candidates:
        # More than once where several went on from one and went together: then it has nobody left.
        removed = {row.id: row.previous_id for row in connection.execute(_PRUNE, {"ids": sorted(candidates)})}
        candidates = {previous for previous in removed.values() if previous is not None} - removed.keys()
    return buried


# ---- many ------------------------------------------------------------------------------------------------------------

_ended = (responses.c.gone == false(), responses.c.status.not_in(UNFINISHED))
_OLD = (
    select(responses.c.id)
    .where(*_ended, responses.c.created_at <= bindparam("until"))
    .order_by(responses.c.created_at)
    .limit(_RESPONSES_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_EXPIRED = (
    select(responses.c.id)
    # As text: only so is it plain that the index has all of them.
    .where(*_ended, text("expires_at > 0"), responses.c.expires_at <= bindparam("until"))
    .limit(_RESPONSES_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_OLDEST = (
    select(responses.c.created_at, responses.c.size, responses.c.id)
    .where(*_ended)
    .order_by(responses.c.created_at)
    .limit(_RESPONSES_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_OLD_CONVERSATIONS = (
    select(conversations.c.id)
    .where(conversations.c.touched_at <= bindparam("until"))
    .order_by(conversations.c.touched_at)
    .limit(_CONVERSATIONS_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_OLDEST_CONVERSATIONS = (
    select(conversations.c.touched_at, conversations.c.size, conversations.c.id)
    .order_by(conversations.c.touched_at)
    .limit(_CONVERSATIONS_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_HELD = select(
    select(func.coalesce(func.sum(responses.c.size), 0)).scalar_subquery()
    + select(func.coalesce(func.sum(conversations.c.size), 0)).scalar_subquery()
)
_DELETE_ITEMS = delete(items).where(items.c.conversation_id.in_(_IDS))
_DELETE_CONVERSATIONS = delete(conversations).where(conversations.c.id.in_(_IDS))


@dataclass(frozen=True, slots=True)
class Swept:
    """What went, and whether there may be more."""

    responses: int
    more: bool


@each
def sweep_expired(connection: Connection, retention: float) -> Swept:
    """Remove some of what is older than `retention` seconds (0: nothing is), or has expired by itself."""
    now = time.time()
    ids = set(connection.execute(_EXPIRED, {"until": int(now)}).scalars())
    old: Sequence[str] = []
    if retention:
        ids.update(connection.execute(_OLD, {"until": int(now - retention)}).scalars())
        old = connection.execute(_OLD_CONVERSATIONS, {"until": int(now - retention)}).scalars().all()
    return Swept(_remove(connection, sorted(ids), old), more=bool(ids or old))


@each
def sweep_surplus(connection: Connection, most: int) -> Swept:
    """Remove some of the oldest, if all together take more than `most` bytes."""
    surplus = int(connection.execute(_HELD).scalar_one()) - most
    if surplus <= 0:
        return Swept(0, more=False)
    found: list[tuple[Any, ...]] = [(*row, True) for row in connection.execute(_OLDEST)]
    found += [(*row, False) for row in connection.execute(_OLDEST_CONVERSATIONS)]
    found.sort()
    freed = accumulate(size for _, size, _, _ in found)
    going = found[: 1 + sum(so_far < surplus for so_far in freed)]
    gone = [identity for _, _, identity, is_response in going if is_response]
    removed = _remove(connection, gone, [identity for _, _, identity, is_response in going if not is_response])
    return Swept(removed, more=bool(going))


def _remove(connection: Connection, response_ids: Sequence[str], conversation_ids: Sequence[str]) -> int:
    removed = _bury(connection, response_ids) if response_ids else 0
    if conversation_ids:
        connection.execute(_DELETE_ITEMS, {"ids": conversation_ids})
        connection.execute(_DELETE_CONVERSATIONS, {"ids": conversation_ids})
    return removed
