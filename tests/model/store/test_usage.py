"""Usage in both databases: kept once, added up exactly, filtered, paged, swept."""

import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.model.store.conftest import Opener
from tests.model.usage.calls import NOON, record
from trivet.model_service.adapters.store import schema
from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.sql_store import SqlStore, open_store
from trivet.model_service.domain.calls import Attempt
from trivet.model_service.domain.turn import Usage
from trivet.model_service.domain.usage import UsageFilter, UsageQuery, UsageSums
from trivet.model_service.settings import StoreSettings
from trivet.model_service.usage_settings import UsageSettings

HOUR, DAY = 3600.0, 86_400.0
MIDNIGHT = NOON + DAY / 2


async def groups(store: SqlStore, *by: str, **query: Any) -> list[tuple[dict[str, str], int]]:
    """The values of the groups, and how many calls each has."""
    report = await store.usage(UsageQuery(group_by=by, **query))
    return [(dict(group.values), group.sums.calls) for group in report.groups]


async def counted(store: SqlStore, **which: Any) -> int:
    """How many calls a filter lets through, added up and one by one."""
    found = UsageFilter(**which)
    listed = await store.usage_records(found, limit=1000)
    assert listed is not None
    calls = (await store.usage(UsageQuery(found))).totals.calls
    assert calls == len(listed)
    return calls


# ---- money -----------------------------------------------------------------------------------------------------------------


async def test_money_is_added_up_exactly_and_what_is_not_known_is_counted(store: SqlStore) -> None:
    unasked = replace(record(None, status=502), unpriced=False)
    await store.add_usage([record("0.1"), record("0.2"), record(None), unasked, record("0.000000000001")])

    totals = (await store.usage(UsageQuery())).totals

    assert (totals.cost, totals.unpriced, totals.calls, totals.failed) == (Decimal("0.300000000001"), 1, 5, 1)


async def test_where_nothing_is_known_the_cost_is_not_zero(store: SqlStore) -> None:
    await store.add_usage([record(None, model="a"), record("0", model="b"), replace(record(None, model="c"), unpriced=False)])

    report = await store.usage(UsageQuery(group_by=["model"]))

    assert [group.sums.cost for group in report.groups] == [None, 0, 0]
    assert (await store.usage(UsageQuery(UsageFilter(models=["nothing"])))).totals == UsageSums()


async def test_sums_of_money_do_not_end_where_the_integers_of_a_database_do(store: SqlStore) -> None:
    await store.add_usage([record("9000000.000000000001") for _ in range(30)])

    assert (await store.usage(UsageQuery())).totals.cost == Decimal("270000000.00000000003")


async def test_many_records_of_a_billionth_of_a_dollar_are_added_up_exactly(store: SqlStore) -> None:
    for _ in range(4):
        await store.add_usage([record("0.000000001") for _ in range(500)])

    totals = (await store.usage(UsageQuery())).totals

    assert (totals.calls, totals.cost) == (2000, Decimal("0.000002"))


# ---- keeping ---------------------------------------------------------------------------------------------------------------


async def test_all_times_of_a_record_are_kept_to_the_millionth_of_a_second(store: SqlStore) -> None:
    third = 1 / 3
    await store.add_usage([record(total_seconds=third, first_token_seconds=third, attempts=(Attempt("lab/m", 200, third),))])

    (kept,) = await store.usage_records(UsageFilter()) or ()
    assert {kept.call.total_seconds, kept.call.first_token_seconds, kept.call.attempts[0].seconds} == {0.333333}


async def test_a_record_comes_back_as_it_was(store: SqlStore) -> None:
    attempts = (Attempt("lab/m", 500, 0.25), Attempt("lab/m", 200, 0.5))
    notes = {"team": "blue", "\ud83d nul \0": "\0"}
    kept = [
        record(stream=True, first_token_seconds=0.125, attempts=attempts, metadata=notes, started=NOON + 0.123),
        record(None, usage=None, status=404, attempts=(), provider="", upstream_model="", model="\0 \udc80", principal="é"),
    ]
    await store.add_usage(kept)

    assert await store.usage_records(UsageFilter()) == kept


async def test_a_record_that_is_stored_again_counts_once(store: SqlStore) -> None:
    once, twice = record(metadata={"a": "1"}), record(metadata={"a": "1"})
    await store.add_usage([once, twice])
    await store.add_usage([twice, record()])

    assert await counted(store) == 3


async def test_tokens_and_times_are_added_up(store: SqlStore) -> None:
    await store.add_usage(
        [
            record("1", total_seconds=1.0, first_token_seconds=0.25, stream=True),
            record("1", total_seconds=2.0, usage=None),
            record("1", total_seconds=3.0, first_token_seconds=0.75, stream=True, usage=Usage(1, 1, 2), status=499),
        ]
    )

    assert (await store.usage(UsageQuery())).totals == UsageSums(
        calls=3,
        failed=1,
        input_tokens=101,
        cached_tokens=40,
        cache_write_tokens=10,
        output_tokens=21,
        reasoning_tokens=5,
        cost=Decimal(3),
        mean_seconds=2.0,
        mean_first_token_seconds=0.5,
    )


# ---- groups ----------------------------------------------------------------------------------------------------------------


async def test_days_and_hours_are_those_of_utc(store: SqlStore) -> None:
    times = [NOON - 0.001, NOON, MIDNIGHT - 0.001, MIDNIGHT]
    await store.add_usage([record(started=at) for at in times])

    assert await groups(store, "day") == [({"day": "2026-11-29"}, 3), ({"day": "2026-11-30"}, 1)]
    assert await groups(store, "hour") == [
        ({"hour": "2026-11-29T11:00:00Z"}, 1),
        ({"hour": "2026-11-29T12:00:00Z"}, 1),
        ({"hour": "2026-11-29T23:00:00Z"}, 1),
        ({"hour": "2026-11-30T00:00:00Z"}, 1),
    ]


async def test_everything_can_be_grouped_by_in_any_order(store: SqlStore) -> None:
    await store.add_usage(
        [
            record(principal="bob", status=429, operation="responses"),
            record(principal="alice", provider="", upstream_model="", model="x"),
            record(principal="alice"),
        ]
    )
    by = ["caller", "status", "model", "target", "provider", "operation"]

    assert await groups(store, *by) == [
        (dict(zip(by, values, strict=True)), 1)
        for values in (
            ("alice", "200", "lab/m", "lab/m", "lab", "chat.completions"),
            ("alice", "200", "x", "", "", "chat.completions"),
            ("bob", "429", "lab/m", "lab/m", "lab", "responses"),
        )
    ]
    assert await groups(store, "operation", "caller") == [
        ({"operation": "chat.completions", "caller": "alice"}, 2),
        ({"operation": "responses", "caller": "bob"}, 1),
    ]


async def test_calls_are_grouped_by_notes_and_those_without_come_first(store: SqlStore) -> None:
    await store.add_usage(
        [
            record(metadata={"team": "red", "env": "dev"}),
            record(metadata={"team": "blue", "env": "dev"}),
            record(metadata={"team": "blue"}),
            record(),
        ]
    )

    assert await groups(store, "metadata.team", "metadata.env") == [
        ({}, 1),
        ({"metadata.team": "blue"}, 1),
        ({"metadata.team": "blue", "metadata.env": "dev"}, 1),
        ({"metadata.team": "red", "metadata.env": "dev"}, 1),
    ]
    assert await groups(store, 'metadata.it\'s "odd"') == [({}, 4)]


async def test_the_dearest_come_first_if_asked(store: SqlStore) -> None:
    costs = {"a": "1000000", "b": "1000000.000001", "c": None, "d": "2", "e": "2"}
    await store.add_usage([record(cost, model=model) for model, cost in costs.items()])

    found = await groups(store, "model", order="cost")

    assert [values["model"] for values, _ in found] == ["b", "a", "d", "e", "c"]


async def test_groups_are_paged_and_totals_are_of_all(store: SqlStore) -> None:
    await store.add_usage([record(model=f"m{number}") for number in range(5)])

    pages = [await store.usage(UsageQuery(group_by=["model"], limit=2, offset=offset)) for offset in (0, 2, 4, 6)]

    assert [[group.values["model"] for group in page.groups] for page in pages] == [["m0", "m1"], ["m2", "m3"], ["m4"], []]
    assert [page.has_more for page in pages] == [True, True, False, False]
    assert {page.totals.calls for page in pages} == {5}


# ---- filters ---------------------------------------------------------------------------------------------------------------


async def test_a_span_of_time_has_its_beginning_and_not_its_end(store: SqlStore) -> None:
    await store.add_usage([record(started=at) for at in (NOON - 0.001, NOON, NOON + HOUR - 0.001, NOON + HOUR)])

    assert await counted(store, since=NOON, until=NOON + HOUR) == 2
    assert await counted(store, since=NOON + HOUR) == 1
    assert await counted(store, until=NOON) == 1
    assert await counted(store, since=NOON, until=NOON) == 0


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ({"models": ["a"]}, 1),
        ({"models": ["a", "b", "none"]}, 2),
        ({"providers": ["lab"]}, 3),
        ({"callers": ["bob"]}, 1),
        ({"callers": []}, 0),
        ({"operations": ["embeddings"]}, 1),
        ({"statuses": [429, 499]}, 1),
        ({"metadata": {"team": "blue"}}, 2),
        ({"metadata": {"team": "blue", "env": "dev"}}, 1),
        ({"metadata": {"team": "dev"}}, 0),
        ({"models": ["a"], "callers": ["bob"]}, 0),
    ],
)
async def test_calls_are_filtered(store: SqlStore, which: dict[str, Any], expected: int) -> None:
    await store.add_usage(
        [
            record(model="a", metadata={"team": "blue", "env": "dev"}),
            record(model="b", principal="bob", metadata={"team": "blue"}, status=429),
            record(model="c", operation="embeddings", metadata={"team": "red"}),
        ]
    )

    assert await counted(store, **which) == expected


# ---- one by one, and going ---------------------------------------------------------------------------------------------------


async def test_records_are_paged_from_the_newest(store: SqlStore) -> None:
    kept = [record(started=NOON + number // 2) for number in range(5)]
    await store.add_usage(kept)

    seen: list[str] = []
    while page := await store.usage_records(UsageFilter(), after=seen[-1] if seen else "", limit=2):
        seen += [one.id for one in page]

    assert seen == _newest_first(kept)
    assert await store.usage_records(UsageFilter(), after="call_nobody", limit=2) is None
    assert await store.usage_records(UsageFilter(callers=["bob"]), after=seen[0]) is None


def _newest_first(kept: Sequence[Any]) -> list[str]:
    return [one.id for one in sorted(kept, key=lambda one: (one.call.started, one.id), reverse=True)]


async def test_what_is_older_than_it_is_kept_goes_with_its_notes(url: str, store: SqlStore) -> None:
    now = time.time()
    await store.add_usage([record(started=now - 2 * DAY, metadata={"a": "1"}) for _ in range(501)])
    await store.add_usage([record(started=now - DAY / 2, metadata={"a": "1"})])
    await store.sweep()
    assert await counted(store) == 502

    settings = StoreSettings.model_validate({"url": url, "secret_key": "the secret of the tests"})
    async with open_store(settings, UsageSettings(retention_days=1)) as sweeping:
        await sweeping.sweep()

    assert await counted(store) == 1
    left = await store._reading.do(each(lambda connection, _: connection.execute(schema.usage_metadata.select()).all()), None)
    assert len(left) == 1


async def test_a_database_of_the_version_before_gets_the_tables(url: str, opened: Opener) -> None:
    store = await opened()

    def back(connection: Connection, _: None) -> None:
        schema.metadata.drop_all(connection, [schema.usage, schema.usage_metadata])
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")

    await store._writing.do(each(back), None)
    await (await opened()).add_usage([record()])

    assert await counted(store) == 1
