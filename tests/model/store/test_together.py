"""Many callers in one transaction: each gets its own answer, and bears its own faults alone."""

import asyncio

import pytest
from sqlalchemy import Connection

from tests.model.store.conftest import Opener
from tests.model.store.samples import batches, going, items, queued, response
from trivet.kernel.errors import Overloaded
from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.sql_store import SqlStore, open_store
from trivet.model_service.domain.store import Change
from trivet.model_service.settings import StoreSettings


class Commits:
    """Counts the transactions of a store."""

    def __init__(self, store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        (link,) = store._recording._links
        run = link.run

        def counted(work: object) -> object:
            self.number += 1
            return run(work)  # type: ignore[arg-type]

        monkeypatch.setattr(link, "run", counted)


async def test_who_write_at_once_share_a_transaction(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = Commits(store, monkeypatch)
    kept = [going() for _ in range(50)]

    await asyncio.gather(*(store.add(one, runner="here") for one in kept))
    assert commits.number == 1
    changed = await asyncio.gather(
        *(store.change(one.id, Change(events=batches((0, n)), status="completed"), runner="here") for n, one in enumerate(kept))
    )

    assert commits.number == 2
    assert all(changed)
    for n, one in enumerate(kept):
        assert await store.events(one.id, -1) == batches((0, n))


async def test_a_fault_of_one_is_not_the_others(store: SqlStore) -> None:
    there = response()
    await store.add(there)
    kept = [response() for _ in range(10)]

    outcomes = await asyncio.gather(*(store.add(one) for one in [*kept[:5], there, *kept[5:]]), return_exceptions=True)

    # The error is SQLAlchemy's or its driver's, as the database has it.
    assert [type(outcome).__name__ for outcome in outcomes] == ["NoneType"] * 5 + ["IntegrityError"] + ["NoneType"] * 5
    for one in kept:
        assert await store.get(one.id, "me") == one


async def test_of_two_changes_that_end_a_response_at_once_one_is_made(store: SqlStore) -> None:
    kept = going()
    await store.add(kept)

    made = await asyncio.gather(
        store.change(kept.id, Change(events=batches((0, 1)))),
        store.change(kept.id, Change(status="completed", response=b"completed")),
        store.change(kept.id, Change(status="cancelled", response=b"cancelled")),
    )

    assert made == [True, True, False]
    found = await store.get(kept.id, "me")
    assert found is not None
    assert found.response == b"completed"


async def test_two_processes_that_end_a_response_at_once_agree_who_did(store: SqlStore, opened: Opener) -> None:
    stores = (store, await opened())
    kept = [queued() for _ in range(30)]
    await asyncio.gather(*(store.add(one) for one in kept))

    made = await asyncio.gather(
        *(
            by.change(one.id, Change(events=batches((0, 1)), status=status))
            for one in kept
            for by, status in zip(stores, ("completed", "cancelled"), strict=True)
        )
    )

    for n, one in enumerate(kept):
        found = await store.get(one.id, "me")
        assert found is not None
        assert made[2 * n : 2 * n + 2] == [found.status == "completed", found.status == "cancelled"]
        assert await store.events(one.id, -1) == batches((0, 1))


async def test_who_gives_up_waiting_leaves_the_others_alone(store: SqlStore) -> None:
    kept = [response() for _ in range(5)]
    adding = [asyncio.create_task(store.add(one)) for one in kept]
    await asyncio.sleep(0)

    adding[2].cancel()
    outcomes = await asyncio.gather(*adding, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(None), type(None), asyncio.CancelledError, type(None), type(None)]
    assert await store.get(kept[4].id, "me") == kept[4]


async def test_what_waits_when_a_store_closes_is_written(url: str) -> None:
    settings = StoreSettings.model_validate({"url": url, "secret_key": "the secret of the tests"})
    kept = [response() for _ in range(200)]
    async with open_store(settings) as store:
        adding = [asyncio.create_task(store.add(one)) for one in kept]
        await asyncio.sleep(0)

    await asyncio.gather(*adding)
    with pytest.raises(Overloaded):
        await store.add(response())
    async with open_store(settings) as again:
        for one in kept:
            assert await again.get(one.id, "me") == one


async def test_a_transaction_that_fails_leaves_nothing_behind(store: SqlStore) -> None:
    kept = response()

    @each
    def half(connection: Connection, _: object) -> None:
        from trivet.model_service.adapters.store.responses import Addition, add_many

        add_many(connection, [Addition(kept, Change(items=items("a")), "", 0.0)])
        raise LookupError

    with pytest.raises(LookupError):
        await store._writing.do(half, None)

    assert await store.get(kept.id, "me") is None
    await store.add(kept)
    assert await store.get(kept.id, "me") == kept
