"""The background under stress: many who come at once, and a store that was away for longer than claims last."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.model.responses import kept
from tests.model.responses.kept import OWNER
from tests.model.responses.makers import Maker, plan, process, turn
from tests.model.responses.recorded import told
from trivet.kernel.errors import RateLimited


async def test_a_queue_takes_no_more_than_it_holds_of_what_comes_at_once(tmp_path: Path) -> None:
    async with kept.sqlite(tmp_path) as store:
        idle = process(store, Maker(turn()), max_queued=5, max_queued_per_key=3)
        owners = ["alice"] * 8 + ["bob"] * 8

        came = await asyncio.gather(*(idle.runs.start(plan(owner)) for owner in owners), return_exceptions=True)

    assert [type(one) is RateLimited for one in came] == [False] * 3 + [True] * 5 + [False] * 2 + [True] * 6


async def test_what_is_queued_while_it_is_still_on_its_way_is_not_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept.sqlite(tmp_path) as store:
        idle = process(store, Maker(turn()), max_queued_per_key=2)
        add, waiting = store.add, store.waiting
        added, counted, gate = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slowly(*given: Any, **named: Any) -> None:
            await add(*given, **named)
            added.set()
            await gate.wait()

        async def told(owner: str) -> tuple[int, int]:
            counts = await waiting(owner)
            if added.is_set():
                counted.set()
            return counts

        monkeypatch.setattr(store, "add", slowly)
        monkeypatch.setattr(store, "waiting", told)
        async with asyncio.timeout(30), asyncio.TaskGroup() as callers:
            callers.create_task(idle.runs.start(plan()))
            await added.wait()
            callers.create_task(idle.runs.start(plan()))
            await counted.wait()
            gate.set()

        assert await waiting(OWNER) == (2, 2)


async def test_what_a_process_answers_itself_is_no_stray_though_the_store_was_away_for_long(tmp_path: Path) -> None:
    async with kept.sqlite(tmp_path) as store:
        one = process(store, Maker(turn()), "one")
        streamed = kept.stored(told(background=False), background=False)
        await store.add(streamed, runner="one")
        with closing(sqlite3.connect(tmp_path / "t.db")) as database, database:
            database.execute("UPDATE work SET lease_until = 0")

        await one.runs._end_strays()

        assert (found := await store.get(streamed.id, OWNER)) is not None
        assert found.status == streamed.status
