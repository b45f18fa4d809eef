"""What goes: deleted, expired, or too much; and what stays for those that went on from it."""

import time

import pytest

from tests.model.store.conftest import Opener
from tests.model.store.samples import batches, conversation, going, items, queued, response
from trivet.model_service.adapters.store.schema import metadata
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Change, StoredResponse

DAY = 86_400
LONG_AGO = int(time.time()) - 40 * DAY


async def rows(store: SqlStore) -> dict[str, int]:
    """How many rows each table has, of those that have some."""

    def count(connection: object, _: object) -> list[dict[str, int]]:
        from sqlalchemy import Connection, func, select

        assert isinstance(connection, Connection)
        counts = {
            name: connection.execute(select(func.count()).select_from(metadata.tables[name])).scalar_one()
            for name in metadata.tables
        }
        return [{name: number for name, number in counts.items() if number}]

    return await store._reading.do(count, None)


async def line(store: SqlStore, length: int, **fields: object) -> list[StoredResponse]:
    """Responses that went on each from the one before it."""
    made: list[StoredResponse] = []
    for _ in range(length):
        made.append(response(previous_id=made[-1].id if made else "", **fields))
        await store.add(made[-1], Change(events=batches((0, 3))))
    return made


# ---- deleted -----------------------------------------------------------------------------------------------------------


async def test_a_deleted_response_leaves_nothing(store: SqlStore) -> None:
    kept = queued(item_ids=["msg_1"])
    await store.add(kept, Change(events=batches((0, 3)), steps={"a": b"1"}, item_ids=["msg_2"]), runner="here")

    assert await store.delete(kept.id, "me")
    assert not await store.delete(kept.id, "me")

    assert await store.get(kept.id, "me") is None
    assert await rows(store) == {}


async def test_what_others_went_on_from_stays_for_them_alone(store: SqlStore) -> None:
    first, second, third = await line(store, 3)

    assert await store.delete(first.id, "me")
    assert await store.delete(second.id, "me")

    assert await store.get(first.id, "me") is None
    assert not await store.lineage(second.id, "me")
    assert not await store.delete(second.id, "me")
    assert await store.events(first.id, -1) == []
    assert [(one.id, one.input, one.response) for one in await store.lineage(third.id, "me")] == [
        (one.id, one.input, one.response) for one in (first, second, third)
    ]


async def test_what_was_kept_for_others_goes_with_the_last_of_them(store: SqlStore) -> None:
    root, trunk = await line(store, 2)
    left, right = response(previous_id=trunk.id), response(previous_id=trunk.id)
    await store.add(left)
    await store.add(right)
    for one in (trunk, root, left):
        assert await store.delete(one.id, "me")
    assert len(await store.lineage(right.id, "me")) == 3
    assert await rows(store) == {"responses": 3}

    assert await store.delete(right.id, "me")

    assert await rows(store) == {}


async def test_the_living_stay_when_those_that_went_on_from_them_go(store: SqlStore) -> None:
    first, second, third, fourth = await line(store, 4)
    await store.delete(first.id, "me")
    await store.delete(third.id, "me")

    await store.delete(fourth.id, "me")

    assert [one.id for one in await store.lineage(second.id, "me")] == [first.id, second.id]
    assert await rows(store) == {"responses": 2, "events": 1}


# ---- expired -----------------------------------------------------------------------------------------------------------


async def test_what_is_older_than_the_retention_goes(opened: Opener) -> None:
    store = await opened(retention_days=30)
    old, young = response(created_at=LONG_AGO), response(created_at=int(time.time()) - 29 * DAY)
    await store.add(old, Change(events=batches((0, 3))))
    await store.add(young)

    assert await store.sweep() == 1
    assert await store.sweep() == 0

    assert await store.get(old.id, "me") is None
    assert await store.get(young.id, "me") == young
    assert await rows(store) == {"responses": 1}


async def test_what_expires_by_itself_goes_whatever_the_retention_is(opened: Opener) -> None:
    store = await opened(retention_days=0)
    now = int(time.time())
    for one in (response(expires_at=now - 1), response(expires_at=now + DAY), response(created_at=LONG_AGO)):
        await store.add(one)

    assert await store.sweep() == 1


async def test_a_whole_line_that_expired_goes(opened: Opener) -> None:
    store = await opened()
    await line(store, 250, created_at=LONG_AGO)

    assert await store.sweep() == 250
    assert await rows(store) == {}


async def test_a_tree_that_expired_goes(store: SqlStore) -> None:
    root = response(created_at=LONG_AGO)
    level, tree = [root], [root]
    for _ in range(6):
        level = [response(previous_id=one.id, created_at=LONG_AGO) for one in level for _ in range(2)]
        tree += level
    for one in tree:
        await store.add(one)

    assert await store.sweep() == 127
    assert await rows(store) == {}


async def test_an_expired_response_stays_in_the_history_of_a_young_one(store: SqlStore) -> None:
    old = response(created_at=LONG_AGO)
    young = response(previous_id=old.id)
    await store.add(old)
    await store.add(young)

    assert await store.sweep() == 1
    assert await store.sweep() == 0

    assert await store.get(old.id, "me") is None
    assert [one.id for one in await store.lineage(young.id, "me")] == [old.id, young.id]


async def test_what_still_runs_never_goes(opened: Opener) -> None:
    store = await opened(max_bytes=1)
    running = [queued(created_at=LONG_AGO), going(created_at=LONG_AGO, expires_at=1)]
    for one in running:
        await store.add(one)

    assert await store.sweep() == 0
    assert await rows(store) == {"responses": 2, "work": 2}


async def test_a_conversation_goes_when_it_was_left_alone_for_the_retention(store: SqlStore) -> None:
    left, added_to, renamed, answered = (conversation(created_at=LONG_AGO) for _ in range(4))
    for talk in (left, added_to, renamed, answered):
        await store.add_conversation(talk, items("msg_1"))
    kept = going(conversation_id=answered.id)
    await store.add(kept)
    await store.add_items(added_to.id, items("msg_2"))
    await store.update_conversation(renamed.id, "me", {"a": "b"})
    await store.change(kept.id, Change(items=items("msg_2")))

    assert await store.sweep() == 0

    assert await store.get_conversation(left.id, "me") is None
    assert await rows(store) == {"responses": 1, "work": 1, "conversations": 3, "items": 5}


# ---- too much ----------------------------------------------------------------------------------------------------------


async def test_of_what_is_too_much_the_oldest_goes(opened: Opener) -> None:
    store = await opened(max_bytes=25_000)
    begin = int(time.time()) - 1_000
    kept = [response(created_at=begin + n, input=b"i" * 400, response=b"r" * 600) for n in range(300)]
    for one in reversed(kept):
        await store.add(one)

    assert await store.sweep() == 275

    assert await store.get(kept[274].id, "me") is None
    assert await store.get(kept[275].id, "me") == kept[275]
    assert await store.sweep() == 0


async def test_events_count(opened: Opener) -> None:
    store = await opened(max_bytes=10_000)
    kept = [going(created_at=1_000_000_000 + n) for n in range(3)]
    store_for_ever = await opened(retention_days=0, max_bytes=10_000)
    for one in kept:
        await store.add(one, Change(events=batches((0, 9), size=2_000)))
        await store.change(one.id, Change(events=batches((10, 19), size=2_000)))
        await store.change(one.id, Change(status="completed"))

    assert await store_for_ever.sweep() == 1
    assert await store_for_ever.get(kept[0].id, "me") is None


async def test_conversations_count_and_the_one_left_alone_longest_goes(opened: Opener) -> None:
    store = await opened(max_bytes=1_500)
    now = int(time.time())
    old, young = conversation(created_at=now - 900), conversation(created_at=now - 500)
    await store.add_conversation(old, items(*(f"msg_{n}" for n in range(60))))
    await store.add_conversation(young, items(*(f"msg_{n}" for n in range(60))))
    middle = response(created_at=now - 700)
    await store.add(middle)

    assert await store.sweep() == 0

    assert await store.get_conversation(old.id, "me") is None
    assert await store.get_conversation(young.id, "me") == young
    assert await store.get(middle.id, "me") == middle


@pytest.mark.parametrize("most", [None, 10**9])
async def test_what_has_room_stays(opened: Opener, most: int | None) -> None:
    store = await opened(max_bytes=most, retention_days=0)
    await line(store, 3, created_at=1)

    assert await store.sweep() == 0
    assert await rows(store) == {"responses": 3, "events": 3}


async def test_a_line_frees_nothing_before_its_end_goes_and_then_no_more_than_needed_goes(opened: Opener) -> None:
    store = await opened(max_bytes=5_000)
    now = int(time.time())
    last = ""
    for age in range(100, 0, -20):
        one = response(previous_id=last, created_at=now - age, input=b"i" * 1_000)
        last = one.id
        await store.add(one)
    young = [response(created_at=now, input=b"i" * 1_000) for _ in range(3)]
    for one in young:
        await store.add(one)

    assert await store.sweep() == 5

    for one in young:
        assert await store.get(one.id, "me") == one
    assert await rows(store) == {"responses": 3}
