"""A database that is not there for a while: callers are told, and it goes on by itself."""

import asyncio
import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from tests.model.store.conftest import SECRET
from tests.model.store.samples import batches, going, queued, response
from tests.upstreams.postgres import Postgres
from trivet.kernel.errors import Overloaded
from trivet.model_service.adapters.store import sqlite
from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.sql_store import SqlStore, open_store
from trivet.model_service.domain.store import Change
from trivet.model_service.settings import StoreSettings

TOLD = "The store cannot be reached now; try again."


# ---- SQLite ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file of SQLite is, for a store that does not wait long."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    return tmp_path / "trivet.db"


@pytest.fixture
async def in_file(file: Path) -> AsyncIterator[SqlStore]:
    """A store in it."""
    async with open_store(StoreSettings.model_validate({"url": f"sqlite:///{file}"})) as store:
        yield store


async def test_a_file_that_another_process_keeps_locked(in_file: SqlStore, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = response()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Overloaded, match=TOLD):
            await in_file.add(kept)
        assert await in_file.get(kept.id, "me") is None
        other.execute("ROLLBACK")

    assert [record.__dict__["reason"] for record in caplog.records] == ["database is locked"]
    await in_file.add(kept)
    assert await in_file.get(kept.id, "me") == kept


async def test_a_disk_that_is_full(in_file: SqlStore) -> None:
    @each
    def limit(connection: Connection, _: object) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # of those that there are

    await in_file._writing.do(limit, None)
    small, large = response(), response(input=b"i" * 1_000_000)

    outcomes = await asyncio.gather(in_file.add(large), in_file.add(large), return_exceptions=True)

    assert [str(outcome) for outcome in outcomes] == [TOLD, TOLD]
    # The connection with the limit is gone, as a disk would have room again.
    await in_file.add(small)
    await in_file.add(large)
    assert await in_file.get(large.id, "me") == large


async def test_no_value_is_in_an_error(in_file: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    kept = response(input=b"what nobody may read")
    await in_file.add(kept)

    with caplog.at_level(logging.DEBUG), pytest.raises(Exception, match="UNIQUE") as caught:
        await in_file.add(kept)

    assert "what nobody may read" not in str(caught.value) + caplog.text


# ---- PostgreSQL --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def in_server(postgres: Postgres) -> AsyncIterator[SqlStore]:
    """A store in a PostgreSQL that may be stopped: it runs again after the test."""
    settings = StoreSettings.model_validate({"url": postgres.new_database(), "secret_key": SECRET})
    async with open_store(settings) as store:
        try:
            yield store
        finally:
            if not postgres.running:
                postgres.start()


async def test_a_server_that_is_down(in_server: SqlStore, postgres: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    kept = [response() for _ in range(3)]
    await in_server.add(kept[0])
    postgres.stop()

    outcomes = await asyncio.gather(
        in_server.add(kept[1]), in_server.add(kept[2]), in_server.get(kept[0].id, "me"), return_exceptions=True
    )

    assert [str(outcome) for outcome in outcomes] == [TOLD] * 3
    assert {type(outcome) for outcome in outcomes} == {Overloaded}
    assert caplog.records
    postgres.start()
    await in_server.add(kept[1])
    assert await in_server.get(kept[0].id, "me") == kept[0]
    assert await in_server.get(kept[1].id, "me") == kept[1]


async def test_what_is_too_large_for_the_server_is_the_fault_of_nobody_else(in_server: SqlStore) -> None:
    small, large = response(), response(item_ids=[secrets.token_hex(5000)])

    outcomes = await asyncio.gather(in_server.add(small), in_server.add(large), return_exceptions=True)

    assert outcomes[0] is None
    assert isinstance(outcomes[1], SQLAlchemyError)
    assert await in_server.get(small.id, "me") == small


async def test_a_server_that_was_started_again_is_not_noticed(in_server: SqlStore, postgres: Postgres) -> None:
    kept = going()
    await in_server.add(kept, runner="here")
    assert await in_server.get(kept.id, "me") == kept

    postgres.stop()
    postgres.start()

    assert await in_server.get(kept.id, "me") == kept
    postgres.stop()
    postgres.start()
    assert await in_server.change(kept.id, Change(events=batches((0, 1))), runner="here")


async def test_connections_that_break_in_the_middle_lose_nothing_that_was_acknowledged(
    in_server: SqlStore, postgres: Postgres
) -> None:
    kept = [response() for _ in range(400)]
    adding = [asyncio.create_task(in_server.add(one)) for one in kept]
    await adding[0]
    await asyncio.to_thread(postgres.stop)
    outcomes = await asyncio.gather(*adding, return_exceptions=True)
    await asyncio.to_thread(postgres.start)

    assert {type(outcome) for outcome in outcomes} <= {type(None), Overloaded}
    for one, outcome in zip(kept, outcomes, strict=True):
        if outcome is None:
            assert await in_server.get(one.id, "me") == one


async def test_two_that_wait_for_each_other_both_get_through(in_server: SqlStore, postgres: Postgres) -> None:
    """Two processes lock the same rows in opposite order; PostgreSQL ends one, which is done again."""
    other_settings = in_server._settings
    first, second = queued(), queued()
    await in_server.add(first)
    await in_server.add(second)
    meeting = asyncio.Barrier(2)

    @each
    def one_after_the_other(connection: Connection, ids: tuple[str, str]) -> str:
        from sqlalchemy.util import await_only

        attempts[ids] = attempts.get(ids, 0) + 1
        for identity in ids:
            connection.execute(text("UPDATE work SET runner = :id WHERE response_id = :id"), {"id": identity})
            if attempts[ids] == 1 and identity == ids[0]:
                await_only(meeting.wait())
        return ids[0]

    attempts: dict[tuple[str, str], int] = {}
    async with open_store(other_settings) as other:
        ids = (first.id, second.id)
        done = await asyncio.gather(
            in_server._writing.do(one_after_the_other, ids), other._writing.do(one_after_the_other, ids[::-1])
        )

    assert done == list(ids)
    assert sorted(attempts.values()) == [1, 2]
