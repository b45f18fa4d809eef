"""The SQL by which responses and conversations go: deleted, expired, or too much."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, delete, exists, false, func, select, text, true, update

from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.responses import LIVING, UNFINISHED
from trivet.model_service.adapters.store.schema import conversations, events, held_items, items, responses, steps, work

_REMOVAL_LOCK = 7_486_948_203

# How many go in one transaction: others wait for it to end.
_RESPONSES_AT_ONCE = 100
_CONVERSATIONS_AT_ONCE = 20

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)

# ---- one -------------------------------------------------------------------------------------------------------------

_OWNED = select(responses.c.id).where(responses.c.id == bindparam("of_id"), responses.c.owner == bindparam("of_owner"), LIVING)
_FORGET = [delete(table).where(table.c.response_id.in_(_IDS)) for table in (work, events, steps, held_items)]
_BURY = (
    update(responses)
    .where(responses.c.id.in_(_IDS), responses.c.gone == false())
    .values(gone=true(), request=b"", size=func.length(responses.c.input) + func.length(responses.c.response))
    .returning(responses.c.size)
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
_PRUNE = (
    delete(responses)
    .where(responses.c.id.in_(select(_useless.c.id)))
    .returning(responses.c.id, responses.c.previous_id, responses.c.size)
)


@dataclass(frozen=True, slots=True)
class Buried:
    """How many responses went, how many bytes they took without their events, and how many of all bytes are free again."""

    responses: int
    size: int
    pruned: int


@each
def delete_response(connection: Connection, key: tuple[str, str]) -> bool:
    """Whether the response of an id and owner was there to be deleted."""
    _alone(connection)
    found = connection.execute(_OWNED, {"of_id": key[0], "of_owner": key[1]}).scalar()
    return found is not None and _bury(connection, [found]).responses > 0


def _alone(connection: Connection) -> None:
    """Keep out others that remove: of two that each leave the parent to the other, none would. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _REMOVAL_LOCK})


def _bury(connection: Connection, ids: Sequence[str]) -> Buried:
    """Make tombstones of responses, and remove each tombstone that nobody goes on from."""
    # Work first, as everywhere: no two transactions wait for each other.
    for forget in _FORGET:
        connection.execute(forget, {"ids": ids})
    sizes = connection.execute(_BURY, {"ids": ids}).scalars().all()
    candidates, pruned = set(ids), 0
    while candidates:
        # More than once where several went on from one and went together: then it has nobody left.
        removed = connection.execute(_PRUNE, {"ids": sorted(candidates)}).all()
        candidates = {row.previous_id for row in removed} - {row.id for row in removed} - {None}
        pruned += sum(row.size for row in removed)
    return Buried(len(sizes), sum(sizes), pruned)


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
    select(responses.c.created_at, responses.c.size, responses.c.id, responses.c.previous_id)
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


@dataclass(frozen=True, slots=True, order=True)
class _Candidate:
    """What may go next, the oldest first. `alone`: a response whose end frees its own bytes at most."""

    since: int
    id: str
    size: int
    is_response: bool
    alone: bool


@each
def sweep_expired(connection: Connection, retention: float) -> Swept:
    """Remove some of what is older than `retention` seconds (0: nothing is), or has expired by itself."""
    _alone(connection)
    now = time.time()
    ids = set(connection.execute(_EXPIRED, {"until": int(now)}).scalars())
    old: Sequence[str] = []
    if retention:
        ids.update(connection.execute(_OLD, {"until": int(now - retention)}).scalars())
        old = connection.execute(_OLD_CONVERSATIONS, {"until": int(now - retention)}).scalars().all()
    _remove_conversations(connection, old)
    removed = _bury(connection, sorted(ids)).responses if ids else 0
    return Swept(removed, more=bool(ids or old))


@each
def sweep_surplus(connection: Connection, most: int) -> Swept:
    """Remove some of the oldest, if all together take more than `most` bytes."""
    surplus = int(connection.execute(_HELD).scalar_one()) - most
    if surplus <= 0:
        return Swept(0, more=False)
    _alone(connection)
    candidates = deque(_candidates(connection))
    more, removed = bool(candidates), 0
    while candidates and surplus > 0:
        going = _next(candidates, surplus)
        size = sum(one.size for one in going)
        if not going[0].is_response:
            _remove_conversations(connection, [going[0].id])
            surplus -= size
            continue
        buried = _bury(connection, [one.id for one in going])
        removed += buried.responses
        surplus -= size - buried.size + buried.pruned
    return Swept(removed, more)


def _candidates(connection: Connection) -> list[_Candidate]:
    oldest = [
        _Candidate(row.created_at, row.id, row.size, is_response=True, alone=row.previous_id is None)
        for row in connection.execute(_OLDEST)
    ]
    idle = [
        _Candidate(row.touched_at, row.id, row.size, is_response=False, alone=False)
        for row in connection.execute(_OLDEST_CONVERSATIONS)
    ]
    return sorted(oldest + idle)


def _next(candidates: deque[_Candidate], surplus: int) -> list[_Candidate]:
    """Those that can go at once: several only where it is known how much that frees at most."""
    going = [candidates.popleft()]
    size = going[0].size
    while going[0].alone and candidates and candidates[0].alone and size < surplus:
        going.append(candidates.popleft())
        size += going[-1].size
    return going


def _remove_conversations(connection: Connection, ids: Sequence[str]) -> None:
    if ids:
        connection.execute(_DELETE_ITEMS, {"ids": ids})
        connection.execute(_DELETE_CONVERSATIONS, {"ids": ids})
