"""No statement reads a whole table that grows: what SQLite says of how it would do each."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event

from tests.model.store.conftest import Opener
from tests.model.store.samples import batches, conversation, going, items, queued, response
from tests.model.usage.calls import record
from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Change
from trivet.model_service.domain.usage import UsageFilter, UsageQuery

# The queue is as small as what is running now, and the others have no rows but those of the query itself.
SMALL = {"work", "line", "useless", "wanted"}


async def everything(store: SqlStore) -> None:
    """Calls all methods."""
    first, talk = response(), conversation()
    second = going(previous_id=first.id, conversation_id=talk.id)
    await store.add_conversation(talk, items("a", "b"))
    for one in (first, second, queued(), response(created_at=1), response(expires_at=1)):
        await store.add(one, Change(events=batches((0, 1)), steps={"a": b"1"}, item_ids=["a"]))
    await store.claim("here", 1)
    await store.claim_stray("here")
    await store.take(second.id, "here")
    await store.renew("here")
    await store.waiting("me")
    await store.change(second.id, Change(events=batches((2, 3)), items=items("c")), runner="here")
    await store.change(second.id, Change(status="completed", response=b"r"), runner="here")
    await store.release("here")
    await store.get(second.id, "me")
    await store.lineage(second.id, "me")
    await store.events(second.id, 1)
    await store.steps(second.id)
    await store.holders(["a", "b"], "me")
    await store.find_items(["a", "b"], "me")
    await store.update_conversation(talk.id, "me", {})
    await store.get_conversation(talk.id, "me")
    await store.add_items(talk.id, items("d"))
    await store.items(talk.id)
    await store.list_items(talk.id, after="a", order="asc")
    await store.list_items(talk.id, after="d")
    await store.get_item(talk.id, "a")
    await store.delete_item(talk.id, "a")
    await store.delete(first.id, "me")
    await store.delete(second.id, "me")
    await store.delete_conversation(talk.id, "me")
    await store.add(response(created_at=int(time.time()) - 100, input=b"i" * 20_000))
    await store.add_usage([record(started=1.0, metadata={"a": "1"}), record(principal="me")])
    which = UsageFilter(since=1.0, until=2.0, callers=["me"], metadata={"a": "1"})
    await store.usage(UsageQuery(which, group_by=["day", "target", "metadata.a"], order="cost"))
    await store.usage_records(which, after=(await store.usage_records(which) or [record()])[0].id)
    for page in (UsageFilter(), UsageFilter(callers=["me"])):
        newest = await store.usage_records(page, limit=1)
        assert newest
        await store.usage_records(page, after=newest[0].id)
    await store.sweep()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_no_statement_reads_a_whole_table(opened: Opener) -> None:
    store = await opened(max_bytes=10_000)
    done: dict[str, Any] = {}

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, _context: object, many: bool) -> None:
        done[statement] = parameters[0] if many else parameters

    for lane in (store._writing, store._reading, store._reporting):
        event.listen(lane._links[0]._engine, "before_cursor_execute", note)  # type: ignore[attr-defined]
    await everything(store)

    @each
    def plan(connection: Connection, asked: tuple[str, Any]) -> Sequence[str]:
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[0]}", asked[1])]

    statements = {sql: values for sql, values in done.items() if not sql.startswith(("BEGIN", "INSERT", "PRAGMA", "EXPLAIN"))}
    whole = [
        (step, sql)
        for sql, values in statements.items()
        for step in await store._reading.do(plan, (sql, values))
        if reads_whole_table(step, sql)
    ]

    assert len(statements) > 35
    assert whole == []


def reads_whole_table(step: str, sql: str) -> bool:
    """By age or time, only the first ones are read, or the sum is taken of what the index itself has."""
    if "_by_age" in step or "usage_by_time" in step:
        return "ORDER BY" not in sql and "sum(" not in sql
    return step.startswith("SCAN ") and "CONSTANT ROW" not in step and step.split()[1] not in SMALL
