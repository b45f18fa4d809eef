"""What a run says is stored in pieces that a reader can hold, and nothing after what is not known to be stored."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.model.responses import kept
from tests.model.responses.recorded import told
from trivet.kernel.errors import Overloaded
from trivet.model.v1 import response_event_body_pb2 as body
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Change
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.background.journal import Journal, Lost, batches
from trivet.model_service.responses.keeping.records import all_events, events_of


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    async with kept.sqlite(tmp_path) as opened:
        yield opened


async def journal(store: SqlStore) -> tuple[Journal, Response]:
    response = told()
    await store.add(kept.stored(response), runner="me")
    return Journal(store, Announcements(), response.id, "me"), response


def deltas(count: int, text: str = "x", first: int = 0) -> list[ResponseEvent]:
    said = (body.OutputTextDeltaEvent(delta=text, sequence_number=number) for number in range(first, first + count))
    return [ResponseEvent(output_text_delta=delta) for delta in said]


def test_pieces_are_small_in_number_and_in_bytes_and_leave_nothing_out() -> None:
    events = [*deltas(150), *deltas(3, "y" * 300_000, 150), *deltas(10, "z" * 100_000, 153)]

    made = batches(events, 7)

    assert events_of(made) == events
    assert [batch.first for batch in made[1:]] == [batch.last + 1 for batch in made[:-1]]
    assert (made[0].first, made[-1].last) == (7, 7 + len(events) - 1)
    assert max(batch.last - batch.first for batch in made) < 64
    assert max(len(batch.data) for batch in made if batch.last > batch.first) <= 300_000
    assert batches([], 7) == []


async def test_what_is_said_by_and_by_is_stored_without_being_asked_to(store: SqlStore) -> None:
    writing, response = await journal(store)
    keeping = asyncio.create_task(writing.keep_up())
    events = deltas(100)
    for event in events:
        await writing.say([event])
    async with asyncio.timeout(20):
        while await all_events(store, response.id) != events:
            await asyncio.sleep(0.01)
    keeping.cancel()


async def test_nothing_is_stored_after_a_commit_that_failed(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, response = await journal(store)
    await writing.say(deltas(3))
    await writing.commit()
    with monkeypatch.context() as away:

        async def unreachable(*_arguments: Any, **_options: Any) -> bool:
            raise Overloaded("away")

        away.setattr(store, "change", unreachable)
        await writing.say(deltas(3, first=3))
        with pytest.raises(Lost):
            await writing.commit()
    await writing.say(deltas(3, first=6))

    with pytest.raises(Lost):
        await writing.commit()
    assert await all_events(store, response.id) == deltas(3)


async def test_a_commit_whose_waiter_is_cancelled_is_made_before_the_next(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, response = await journal(store)
    change, begun, gate = store.change, asyncio.Event(), asyncio.Event()

    async def gated(*arguments: Any, **options: Any) -> bool:
        begun.set()
        await gate.wait()
        return await change(*arguments, **options)

    monkeypatch.setattr(store, "change", gated)
    await writing.say(deltas(3))
    waiting = asyncio.create_task(writing.commit())
    await begun.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    await writing.say(deltas(3, first=3))
    gate.set()
    await writing.commit({"step": b"done"})

    assert await all_events(store, response.id) == deltas(6)
    assert await store.steps(response.id) == {"step": b"done"}


async def test_the_last_events_are_stored_with_how_it_ended_and_never_before(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, _ = await journal(store)
    change, gate, changes = store.change, asyncio.Event(), list[Change]()

    async def gated(response_id: str, changed: Change, **options: Any) -> bool:
        changes.append(changed)
        await gate.wait()
        return await change(response_id, changed, **options)

    monkeypatch.setattr(store, "change", gated)
    keeping = asyncio.create_task(writing.keep_up())
    await writing.say(deltas(3))
    async with asyncio.timeout(20):
        while not changes:
            await asyncio.sleep(0.01)
    ending = asyncio.create_task(writing.commit(last=deltas(2, first=3), status="completed"))
    gate.set()
    await ending
    keeping.cancel()

    assert [(events_of(changed.events), changed.status) for changed in changes] == [
        (deltas(3), ""),
        (deltas(2, first=3), "completed"),
    ]


async def test_a_run_waits_for_a_store_that_is_slow(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, _ = await journal(store)
    gate, change = asyncio.Event(), store.change

    async def slow(*arguments: Any, **options: Any) -> bool:
        await gate.wait()
        return await change(*arguments, **options)

    monkeypatch.setattr(store, "change", slow)
    saying = asyncio.create_task(writing.say(deltas(5000)))
    await asyncio.sleep(0)
    assert not saying.done()
    gate.set()
    await saying
