"""The SQL of responses, their events and their steps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    LargeBinary,
    Text,
    and_,
    bindparam,
    delete,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from trivet.model_service.adapters.store.conversations import append
from trivet.model_service.adapters.store.inserting import Row, insert_rows
from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.schema import Now, encoded, events, held_items, responses, steps, work
from trivet.model_service.domain.store import Change, StoredEvents, StoredItem, StoredResponse

UNFINISHED = ("queued", "in_progress")

# What its owner finds.
LIVING = and_(
    responses.c.gone == false(),
    or_(responses.c.expires_at == 0, responses.c.expires_at > Now(), responses.c.status.in_(UNFINISHED)),
)

# In the order of the fields of StoredResponse.
RESPONSE = (
    responses.c.id,
    responses.c.owner,
    responses.c.created_at,
    responses.c.status,
    responses.c.input,
    responses.c.response,
    responses.c.background,
    responses.c.streamed,
    func.coalesce(responses.c.previous_id, "").label("previous_id"),
    func.coalesce(responses.c.conversation_id, "").label("conversation_id"),
    responses.c.request,
    responses.c.expires_at,
)


@dataclass(slots=True)
class Addition:
    """A response to keep, its request sealed; `lease`: for how many seconds `runner` has a claim on it."""

    response: StoredResponse
    change: Change
    runner: str
    lease: float

    @property
    def status(self) -> str:
        """As it is when it is kept."""
        return self.change.status or self.response.status

    @property
    def item_ids(self) -> Sequence[str]:
        """Of the items that it is to be found by."""
        return (*self.response.item_ids, *self.change.item_ids)


@dataclass(frozen=True, slots=True)
class Alteration:
    """What becomes of a response; `runner`: only if that one has the claim on it, "" for whoever has."""

    response_id: str
    change: Change
    runner: str


# ---- adding and changing ---------------------------------------------------------------------------------------------

_RESPONSE_COLUMNS = tuple(column.name for column in responses.columns)
_HELD_COLUMNS = ("response_id", "owner", "item_id")
_EVENT_COLUMNS = ("response_id", "first", "last", "data")
_ADD_WORK = insert(work).values(lease_until=bindparam("since", type_=BigInteger) * Now() + bindparam("lease"))
_ADD_STEP = insert(steps)
_FORGET_STEP = delete(steps).where(steps.c.response_id == bindparam("in_response"), steps.c.name == bindparam("of_name"))
_FORGET_STEPS = delete(steps).where(steps.c.response_id == bindparam("in_response"))
_END_WORK = delete(work).where(work.c.response_id == bindparam("in_response"))
_SET_WORK = update(work).where(work.c.response_id == bindparam("in_response")).values(status=bindparam("to_status"))
# In one order everywhere, so that no two transactions wait for each other.
_HELD = (
    select(work.c.response_id, work.c.owner, work.c.runner, work.c.conversation_id)
    .where(work.c.response_id.in_(bindparam("ids", expanding=True)))
    .order_by(work.c.response_id)
    .with_for_update()
)

_new_response = func.coalesce(bindparam("to_response", type_=LargeBinary), responses.c.response)
_SET_RESPONSE = (
    update(responses)
    .where(responses.c.id == bindparam("in_response"))
    .values(
        status=func.coalesce(bindparam("to_status", type_=Text), responses.c.status),
        response=_new_response,
        request=func.coalesce(bindparam("to_request", type_=LargeBinary), responses.c.request),
        expires_at=func.coalesce(bindparam("to_expires_at", type_=BigInteger), responses.c.expires_at),
        size=func.length(responses.c.input)
        + func.length(_new_response)
        + func.coalesce(
            select(func.sum(func.length(events.c.data)))
            .where(events.c.response_id == bindparam("in_response"))
            .scalar_subquery(),
            0,
        ),
    )
)


def add_many(connection: Connection, additions: Sequence[Addition]) -> Sequence[None]:
    """Keep new responses."""
    insert_rows(connection, responses, _RESPONSE_COLUMNS, [_response_row(addition) for addition in additions])
    if rows := [_work_row(addition) for addition in additions if addition.status in UNFINISHED]:
        connection.execute(_ADD_WORK, rows)
    having = [row for one in additions for row in _item_rows(one.response.id, one.response.owner, one.item_ids)]
    insert_rows(connection, held_items, _HELD_COLUMNS, having)
    _add_details(connection, ((one.response.id, one.response.conversation_id, one.change) for one in additions))
    if ended := [{"in_response": one.response.id} for one in additions if one.change.steps and one.status not in UNFINISHED]:
        connection.execute(_FORGET_STEPS, ended)
    return [None] * len(additions)


def _response_row(addition: Addition) -> Row:
    """The values of the columns, in the order of the table."""
    response, change = addition.response, addition.change
    body, status = change.response or response.response, addition.status
    return (
        response.id,
        response.owner,
        response.created_at,
        status,
        response.background,
        response.streamed,
        False,
        response.previous_id or None,
        response.conversation_id or None,
        response.expires_at,
        len(response.input) + len(body) + sum(len(batch.data) for batch in change.events),
        response.request if status in UNFINISHED else b"",
        body,
        response.input,
    )


def _work_row(addition: Addition) -> dict[str, Any]:
    return {
        "response_id": addition.response.id,
        "owner": addition.response.owner,
        "conversation_id": addition.response.conversation_id or None,
        "background": addition.response.background,
        "status": addition.status,
        "runner": addition.runner,
        "since": 1 if addition.runner else 0,
        "lease": addition.lease if addition.runner else 0.0,
    }


def _item_rows(response_id: str, owner: str, item_ids: Sequence[str]) -> Iterator[Row]:
    return ((response_id, owner, encoded(name)) for name in dict.fromkeys(item_ids) if name)


def change_many(connection: Connection, alterations: Sequence[Alteration]) -> Sequence[bool]:
    """Which of the changes were made."""
    rows = connection.execute(_HELD, {"ids": [alteration.response_id for alteration in alterations]})
    held = {row.response_id: row for row in rows}
    made: list[bool] = []
    details: list[tuple[str, str, Change]] = []
    having: list[Row] = []
    for alteration in alterations:
        row = held.get(alteration.response_id)
        if row is None or alteration.runner not in ("", row.runner):
            made.append(False)
            continue
        made.append(True)
        details.append((alteration.response_id, row.conversation_id or "", alteration.change))
        having.extend(_item_rows(alteration.response_id, row.owner, alteration.change.item_ids))
        if _ends(alteration.change):
            del held[alteration.response_id]
    insert_rows(connection, held_items, _HELD_COLUMNS, having)
    _add_details(connection, details)
    _set_standing(connection, [(response_id, change) for response_id, _, change in details])
    return made


def _ends(change: Change) -> bool:
    return bool(change.status) and change.status not in UNFINISHED


def _add_details(connection: Connection, details: Iterable[tuple[str, str, Change]]) -> None:
    """Add the events, steps and items of changes to responses, each with the conversation that it is in."""
    told: list[Row] = []
    remembered: dict[tuple[str, str], bytes] = {}
    spoken: list[tuple[str, Sequence[StoredItem]]] = []
    for response_id, conversation_id, change in details:
        told.extend((response_id, batch.first, batch.last, batch.data) for batch in change.events)
        remembered.update({(response_id, name): data for name, data in change.steps.items()})
        if change.items and conversation_id:
            spoken.append((conversation_id, change.items))
    insert_rows(connection, events, _EVENT_COLUMNS, told)
    if remembered:
        connection.execute(_FORGET_STEP, [{"in_response": of, "of_name": name} for of, name in remembered])
        rows = [{"response_id": of, "name": name, "data": data} for (of, name), data in remembered.items()]
        connection.execute(_ADD_STEP, rows)
    for conversation_id, added in sorted(spoken, key=lambda one: one[0]):
        append(connection, conversation_id, added)


def _set_standing(connection: Connection, changes: Sequence[tuple[str, Change]]) -> None:
    """Set how the responses stand, and end the work on those that have ended."""
    standing = [
        {
            "in_response": response_id,
            "to_status": change.status or None,
            "to_response": change.response or None,
            "to_request": b"" if _ends(change) else None,
            "to_expires_at": change.expires_at or None,
        }
        for response_id, change in changes
        if change.status or change.response or change.expires_at
    ]
    if standing:
        connection.execute(_SET_RESPONSE, standing)
    if ended := [{"in_response": response_id} for response_id, change in changes if _ends(change)]:
        connection.execute(_END_WORK, ended)
        connection.execute(_FORGET_STEPS, ended)
    going = [{"in_response": of, "to_status": change.status} for of, change in changes if change.status in UNFINISHED]
    if going:
        connection.execute(_SET_WORK, going)


# ---- reading ---------------------------------------------------------------------------------------------------------

GET = select(*RESPONSE).where(responses.c.id.in_(bindparam("ids", expanding=True)), LIVING)

_begin = select(responses.c.id, responses.c.previous_id, literal(0, Integer).label("depth")).where(
    responses.c.id == bindparam("of_id"), responses.c.owner == bindparam("of_owner"), LIVING
)
_line = _begin.cte("line", recursive=True)
_line = _line.union_all(
    select(responses.c.id, responses.c.previous_id, _line.c.depth + 1).join(_line, responses.c.id == _line.c.previous_id)
)
_LINEAGE = select(*RESPONSE).join(_line, responses.c.id == _line.c.id).order_by(_line.c.depth.desc())

# The batch that holds the number, which may begin before it: found by the key, however many there are.
_reached = (
    select(func.max(events.c.first))
    .where(events.c.response_id == bindparam("of_id"), events.c.first <= bindparam("after"))
    .scalar_subquery()
)
_EVENTS = (
    select(events.c.first, events.c.last, events.c.data)
    .where(
        events.c.response_id == bindparam("of_id"),
        events.c.first >= func.coalesce(_reached, 0),
        events.c.last > bindparam("after"),
    )
    .order_by(events.c.first)
    .limit(bindparam("most"))
)
_STEPS = select(steps.c.name, steps.c.data).where(steps.c.response_id == bindparam("of_id"))


def response_of(row: Sequence[Any]) -> StoredResponse:
    """The response in a row of the columns RESPONSE."""
    return StoredResponse(*row)


def get_many(connection: Connection, keys: Sequence[tuple[str, str]]) -> Sequence[StoredResponse | None]:
    """The response of each id and owner."""
    rows = connection.execute(GET, {"ids": [response_id for response_id, _ in keys]})
    found = {response.id: response for response in map(response_of, rows)}
    return [
        response if (response := found.get(response_id)) is not None and response.owner == owner else None
        for response_id, owner in keys
    ]


@each
def lineage(connection: Connection, key: tuple[str, str]) -> Sequence[StoredResponse]:
    """The response of an id and owner with those before it; none where one of them is missing."""
    rows = connection.execute(_LINEAGE, {"of_id": key[0], "of_owner": key[1]})
    line = [response_of(row) for row in rows]
    # One was deleted between being read and being gone on from: a shorter history would be a false one.
    return [] if line and line[0].previous_id else line


@each
def events_after(connection: Connection, key: tuple[str, int, int]) -> Sequence[StoredEvents]:
    """Events of a response after a number, at most so many batches."""
    response_id, after, limit = key
    rows = connection.execute(_EVENTS, {"of_id": response_id, "after": after, "most": limit})
    return [StoredEvents(*row) for row in rows]


@each
def steps_of(connection: Connection, response_id: str) -> Mapping[str, bytes]:
    """The steps of a response."""
    return {row.name: row.data for row in connection.execute(_STEPS, {"of_id": response_id})}
