"""The SQL of usage records. A query adds up in the database, in integers: no sum of money is rounded."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    literal_column,
    select,
    tuple_,
)

from trivet.model_service.adapters.store.inserting import Row, insert_rows
from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.schema import encoded, usage, usage_metadata
from trivet.model_service.domain.calls import Attempt, CallRecord
from trivet.model_service.domain.prices import from_pico, to_pico
from trivet.model_service.domain.turn import Usage
from trivet.model_service.domain.usage import (
    METADATA,
    UsageFilter,
    UsageGroup,
    UsageQuery,
    UsageRecord,
    UsageReport,
    UsageSums,
)

_AT_ONCE = 500
"""How many old records go in one transaction: others wait for it to end."""

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_MILLION = 1_000_000
_MOST_PICO = 2**63 - 1

_TOKENS = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_TOKENS_OF = attrgetter(*_TOKENS)
_UNTOLD = (None,) * len(_TOKENS)

_USAGE_COLUMNS = tuple(column.name for column in usage.columns)
_NOTE_COLUMNS = tuple(column.name for column in usage_metadata.columns)

# ---- keeping ---------------------------------------------------------------------------------------------------------


@each
def add(connection: Connection, records: Sequence[UsageRecord]) -> None:
    """Keep records that are not there yet."""
    # SQLite has no bool: its driver looks for somebody who makes something else of each, which takes longer than to store it.
    flag = int if connection.dialect.name == "sqlite" else bool
    insert_rows(connection, usage, _USAGE_COLUMNS, [_row(record, flag) for record in records], new_only=True)
    notes = [
        (record.id, encoded(name), encoded(value))
        for record in records
        if record.call.metadata
        for name, value in record.call.metadata.items()
    ]
    insert_rows(connection, usage_metadata, _NOTE_COLUMNS, notes, new_only=True)


def _row(record: UsageRecord, flag: Callable[[bool], int]) -> Row:
    """The values of its columns, in the order of the table."""
    call = record.call
    first = call.first_token_seconds
    return (
        record.id,
        int(call.started * 1000),
        encoded(call.principal),
        call.operation,
        encoded(call.model),
        call.provider,
        call.provider_type,
        encoded(call.upstream_model),
        call.status,
        flag(call.stream),
        int(call.total_seconds * _MILLION),
        None if first is None else int(first * _MILLION),
        *(_UNTOLD if call.usage is None else _TOKENS_OF(call.usage)),
        None if record.cost is None else min(to_pico(record.cost), _MOST_PICO),
        flag(record.unpriced),
        encoded(call.request_id),
        orjson.dumps([(attempt.target, attempt.status, round(attempt.seconds, 6)) for attempt in call.attempts]),
    )


def _record(row: Any, notes: Mapping[str, str]) -> UsageRecord:
    call = CallRecord(
        operation=row.operation,
        model=row.model,
        provider=row.provider,
        provider_type=row.provider_type,
        upstream_model=row.upstream_model,
        attempts=tuple(Attempt(*attempt) for attempt in orjson.loads(row.attempts)),
        started=row.started_ms / 1000,
        first_token_seconds=None if row.first_token_us is None else row.first_token_us / _MILLION,
        total_seconds=row.total_us / _MILLION,
        status=row.status,
        usage=None if row.input_tokens is None else Usage(**{name: getattr(row, name) for name in _TOKENS}),
        stream=row.streamed,
        request_id=row.request_id,
        principal=row.caller,
        metadata=notes,
    )
    return UsageRecord(row.id, call, None if row.cost_pico is None else from_pico(row.cost_pico), row.unpriced)


# ---- which ones ------------------------------------------------------------------------------------------------------


def _conditions(which: UsageFilter) -> Iterator[ColumnElement[bool]]:
    if which.since is not None:
        yield usage.c.started_ms >= round(which.since * 1000)
    if which.until is not None:
        yield usage.c.started_ms < round(which.until * 1000)
    for column, values in (
        (usage.c.model, which.models),
        (usage.c.provider, which.providers),
        (usage.c.operation, which.operations),
        (usage.c.status, which.statuses),
    ):
        if values:
            yield column.in_(values)
    if which.callers is not None:
        yield usage.c.caller.in_(which.callers)
    for name, value in which.metadata.items():
        yield exists().where(
            usage_metadata.c.usage_id == usage.c.id, usage_metadata.c.name == name, usage_metadata.c.value == value
        )


# ---- adding up -------------------------------------------------------------------------------------------------------


def _sum(of: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(of), 0)


def _if(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return _sum(case((condition, 1), else_=0))


# Money in two parts, because SQLite's sums end at 2^63: that is nine million dollars.
_PART = literal_column(str(_MILLION), BigInteger)
_COST_HIGH = _sum(usage.c.cost_pico // _PART)
_COST_LOW = _sum(usage.c.cost_pico % _PART)
_SUMS = (
    func.count().label("calls"),
    _if(usage.c.status >= 400).label("failed"),
    *(_sum(usage.c[name]).label(name) for name in _TOKENS if name != "total_tokens"),
    _COST_HIGH.label("cost_high"),
    _COST_LOW.label("cost_low"),
    func.count(usage.c.cost_pico).label("priced"),
    _if(usage.c.unpriced).label("unpriced"),
    _sum(usage.c.total_us).label("total_us"),
    _sum(usage.c.first_token_us).label("first_token_us"),
    func.count(usage.c.first_token_us).label("first_tokens"),
)


def _sums(row: Any) -> UsageSums:
    calls, first_tokens = int(row.calls), int(row.first_tokens)
    known = row.priced or not row.unpriced
    return UsageSums(
        calls=calls,
        failed=int(row.failed),
        input_tokens=int(row.input_tokens),
        cached_tokens=int(row.cached_tokens),
        cache_write_tokens=int(row.cache_write_tokens),
        output_tokens=int(row.output_tokens),
        reasoning_tokens=int(row.reasoning_tokens),
        cost=from_pico(int(row.cost_high) * _MILLION + int(row.cost_low)) if known else None,
        unpriced=int(row.unpriced),
        mean_seconds=float(row.total_us) / calls / _MILLION if calls else None,
        mean_first_token_seconds=float(row.first_token_us) / first_tokens / _MILLION if first_tokens else None,
    )


# A dimension is one or more expressions, and the text of their values; None: it is no value of the group.
_Text = Callable[[Sequence[Any]], str | None]


def _of_time(length_ms: int, form: str) -> tuple[ColumnElement[Any], _Text]:
    """The number of a day or an hour since 1970."""
    # As text: as a parameter it would be another expression wherever it stands.
    number = usage.c.started_ms // literal_column(str(length_ms), BigInteger)
    return number, lambda values: datetime.fromtimestamp(values[0] * length_ms // 1000, UTC).strftime(form)


def _as_it_is(values: Sequence[Any]) -> str | None:
    return None if values[0] is None else str(values[0])


def _target(values: Sequence[Any]) -> str:
    return "/".join(filter(None, values))


@dataclass(slots=True)
class _Grouping:
    """The expressions of a `group_by`, where they come from, and which of them each dimension has."""

    expressions: list[ColumnElement[Any]]
    source: FromClause
    texts: list[tuple[str, slice, _Text]]

    def add(self, name: str, expressions: Sequence[ColumnElement[Any]], text: _Text) -> None:
        start = len(self.expressions)
        self.expressions += expressions
        self.texts.append((name, slice(start, start + len(expressions)), text))

    def group(self, row: Any) -> UsageGroup:
        told = ((name, text(row[where])) for name, where, text in self.texts)
        return UsageGroup({name: value for name, value in told if value is not None}, _sums(row))


def _grouping(names: Iterable[str]) -> _Grouping:
    grouping = _Grouping([], usage, [])
    for name in names:
        if name.startswith(METADATA):
            note = usage_metadata.alias()
            of_it = and_(note.c.usage_id == usage.c.id, note.c.name == name.removeprefix(METADATA))
            grouping.source = grouping.source.outerjoin(note, of_it)
            grouping.add(name, [note.c.value], _as_it_is)
        elif name == "target":
            grouping.add(name, [usage.c.provider, usage.c.upstream_model], _target)
        elif name in _TIMES:
            number, text = _TIMES[name]
            grouping.add(name, [number], text)
        else:
            grouping.add(name, [usage.c[name]], _as_it_is)
    return grouping


_TIMES = {"day": _of_time(_DAY_MS, "%Y-%m-%d"), "hour": _of_time(_HOUR_MS, "%Y-%m-%dT%H:00:00Z")}


@each
def report(connection: Connection, query: UsageQuery) -> UsageReport:
    """Groups and sums."""
    conditions = list(_conditions(query.which))
    totals = _sums(connection.execute(select(*_SUMS).select_from(usage).where(*conditions)).one())
    if not query.group_by:
        return UsageReport((), totals, has_more=False)
    grouping = _grouping(query.group_by)
    dearest = (_COST_HIGH.desc(), _COST_LOW.desc()) if query.order == "cost" else ()
    chosen = (
        select(*grouping.expressions, *_SUMS)
        .select_from(grouping.source)
        .where(*conditions)
        .group_by(*grouping.expressions)
        .order_by(*dearest, *(expression.asc().nulls_first() for expression in grouping.expressions))
        .limit(query.limit + 1)
        .offset(query.offset)
    )
    groups = [grouping.group(row) for row in connection.execute(chosen)]
    return UsageReport(groups[: query.limit], totals, has_more=len(groups) > query.limit)


# ---- one by one ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """Which records to list."""

    which: UsageFilter
    after: str
    limit: int


_NEWEST = (usage.c.started_ms.desc(), usage.c.id.desc())
_NOTES = select(usage_metadata).where(usage_metadata.c.usage_id.in_(bindparam("ids", expanding=True)))


@each
def page(connection: Connection, asked: Page) -> Sequence[UsageRecord] | None:
    """The records of a page, the newest first; None if there is none to begin after."""
    conditions = list(_conditions(asked.which))
    if asked.after:
        begin = select(usage.c.started_ms).where(
            usage.c.id == asked.after, *_conditions(UsageFilter(callers=asked.which.callers))
        )
        started = connection.execute(begin).scalar()
        if started is None:
            return None
        conditions.append(tuple_(usage.c.started_ms, usage.c.id) < tuple_(literal(started), literal(asked.after)))
    rows = connection.execute(select(usage).where(*conditions).order_by(*_NEWEST).limit(asked.limit)).all()
    notes: dict[str, dict[str, str]] = {row.id: {} for row in rows}
    if rows:
        for note in connection.execute(_NOTES, {"ids": list(notes)}):
            notes[note.usage_id][note.name] = note.value
    return [_record(row, notes[row.id]) for row in rows]


# ---- going -----------------------------------------------------------------------------------------------------------

_OLD = select(usage.c.id).where(usage.c.started_ms < bindparam("until")).order_by(usage.c.started_ms).limit(_AT_ONCE)
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_GO = delete(usage).where(usage.c.id.in_(_IDS))
_NOTES_GO = delete(usage_metadata).where(usage_metadata.c.usage_id.in_(_IDS))


@each
def sweep(connection: Connection, retention: float) -> bool:
    """Remove some records that are older than `retention` seconds; whether there may be more."""
    ids = connection.execute(_OLD, {"until": int((time.time() - retention) * 1000)}).scalars().all()
    if ids:
        connection.execute(_NOTES_GO, {"ids": ids})
        connection.execute(_GO, {"ids": ids})
    return len(ids) == _AT_ONCE
