"""The queue and its claims, over two stores that share a database as two processes do."""

import asyncio

import pytest

from tests.model.store.conftest import Opener
from tests.model.store.samples import batches, going, queued, response
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Change

MANY = 99


@pytest.fixture
async def other(opened: Opener) -> SqlStore:
    """The store of another process."""
    return await opened()


@pytest.fixture
async def short(opened: Opener) -> SqlStore:
    """The store of a process whose claims are over at once, as if it were killed after each."""
    return await opened(claim_seconds=1e-9)


async def test_what_waits_is_counted(store: SqlStore, other: SqlStore) -> None:
    assert await store.waiting("me") == (0, 0)

    for one in (queued(), queued(), queued(owner="you"), response(), going()):
        await store.add(one)

    assert await other.waiting("me") == (3, 2)
    assert await other.waiting("nobody") == (3, 0)


async def test_the_oldest_is_claimed_first_and_by_one_only(store: SqlStore, other: SqlStore) -> None:
    waiting = [queued() for _ in range(3)]
    for one in waiting:
        await store.add(one)

    assert await store.claim("here", MANY) == waiting[0]
    assert await other.claim("there", MANY) == waiting[1]
    assert await store.claim("here", MANY) == waiting[2]
    assert await other.claim("there", MANY) is None


async def test_many_who_claim_at_once_get_each_response_once(store: SqlStore, other: SqlStore) -> None:
    waiting = [queued() for _ in range(20)]
    await asyncio.gather(*(store.add(one) for one in waiting))

    claimed = await asyncio.gather(*(one.claim(f"runner {n}", MANY) for n in range(15) for one in (store, other)))

    assert sorted(one.id for one in claimed if one) == sorted(one.id for one in waiting)


async def test_an_owner_is_given_no_more_at_once_than_allowed(store: SqlStore, other: SqlStore) -> None:
    mine = [queued() for _ in range(4)]
    yours = queued(owner="you")
    for one in (*mine, yours):
        await store.add(one)

    claimed = await asyncio.gather(*(one.claim(f"runner {n}", 2) for n in range(5) for one in (store, other)))
    assert sorted(one.id for one in claimed if one) == sorted((mine[0].id, mine[1].id, yours.id))

    assert await store.change(mine[0].id, Change(status="completed"))
    third = await other.claim("there", 2)
    assert third is not None
    assert third.id == mine[2].id
    assert await other.claim("there", 2) is None


async def test_a_stream_to_a_caller_takes_no_place_of_the_background(store: SqlStore) -> None:
    await store.add(going(), runner="here")
    await store.add(queued())

    assert await store.claim("here", 1) is not None


async def test_what_nobody_works_on_any_more_is_claimed_again(store: SqlStore, short: SqlStore) -> None:
    kept = queued()
    await store.add(kept)
    assert await short.claim("killed", MANY) == kept
    assert await short.change(kept.id, Change(events=batches((0, 1)), status="in_progress", response=b"going"), runner="killed")

    claimed = await store.claim("here", MANY)

    assert claimed is not None
    assert (claimed.id, claimed.status, claimed.response, claimed.request) == (kept.id, "in_progress", b"going", b"the request")
    assert await short.claim("there", MANY) is None


async def test_who_lost_a_claim_changes_nothing(store: SqlStore, short: SqlStore) -> None:
    kept = queued()
    await store.add(kept)
    await short.claim("slow", MANY)
    await store.claim("here", MANY)

    assert not await short.change(kept.id, Change(events=batches((0, 1)), status="completed", response=b"late"), runner="slow")
    assert await store.change(kept.id, Change(events=batches((0, 7))), runner="here")

    assert await store.events(kept.id, -1) == batches((0, 7))
    assert await short.renew("slow") == []


async def test_a_claim_that_is_over_but_nobody_elses_still_holds(store: SqlStore, short: SqlStore) -> None:
    kept = queued()
    await store.add(kept)
    await short.claim("slow", MANY)

    assert await short.change(kept.id, Change(events=batches((0, 1))), runner="slow")
    assert await short.renew("slow") == [kept.id]
    assert await store.renew("slow") == [kept.id]
    assert await store.claim("here", MANY) is None


async def test_a_claim_is_over_after_its_seconds(opened: Opener, store: SqlStore) -> None:
    kept = queued()
    await store.add(kept)
    await (await opened(claim_seconds=0.2)).claim("killed", MANY)

    async with asyncio.timeout(30):
        while await store.claim("here", MANY) is None:
            await store.waiting("me")


async def test_a_response_may_be_claimed_from_the_start(store: SqlStore, other: SqlStore) -> None:
    kept = queued()
    await store.add(kept, runner="here")

    assert await other.claim("there", MANY) is None
    assert not await other.change(kept.id, Change(status="completed"), runner="there")
    assert await store.renew("here") == [kept.id]
    assert await store.change(kept.id, Change(status="completed"), runner="here")


async def test_a_stream_whose_runner_is_no_more_is_found(store: SqlStore, short: SqlStore) -> None:
    stray, alive = going(), going()
    await short.add(stray, runner="killed")
    await store.add(alive, runner="here")
    await store.add(queued())

    assert await store.claim_stray("here") == stray
    assert await store.claim_stray("here") is None
    assert await store.renew("here") in ([stray.id, alive.id], [alive.id, stray.id])


async def test_a_response_can_be_taken_from_whoever_has_it(store: SqlStore, other: SqlStore) -> None:
    kept = queued()
    await store.add(kept)
    await store.claim("here", MANY)

    assert await other.take(kept.id, "canceller")
    assert not await store.change(kept.id, Change(status="completed"), runner="here")
    assert await other.change(kept.id, Change(status="cancelled"), runner="canceller")
    assert not await other.take(kept.id, "canceller")
    assert not await other.take("resp_unknown", "canceller")


async def test_who_stops_gives_up_all_for_others_to_go_on_at_once(store: SqlStore, other: SqlStore) -> None:
    kept, streamed = queued(), going()
    await store.add(kept)
    await store.add(streamed, runner="here")
    await store.claim("here", MANY)

    await store.release("here")

    assert await store.renew("here") == []
    assert await other.claim("there", MANY) == kept
    assert await other.claim_stray("there") == streamed


async def test_a_request_is_kept_unreadable(store: SqlStore, opened: Opener, caplog: pytest.LogCaptureFixture) -> None:
    kept = queued(request=b"Bearer sk-tool-secret")
    await store.add(kept)
    stranger = await opened(secret_key="another secret than that")

    found = await stranger.claim("there", MANY)

    assert found is not None
    assert found.request == b""
    assert "store.secret_key" in caplog.text
    raw = await store._reading.do(raw_request, kept.id)
    assert len(raw) > 20
    assert b"sk-tool-secret" not in raw
    assert (await store.get(kept.id, "me")) == kept


def raw_request(connection: object, ids: object) -> list[bytes]:
    """What stands in the table."""
    from sqlalchemy import Connection, select

    from trivet.model_service.adapters.store.schema import responses

    assert isinstance(connection, Connection)
    return list(connection.execute(select(responses.c.request)).scalars())
