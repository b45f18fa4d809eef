"""Items are found by their ids, in whichever response or conversation of their owner they are."""

from typing import Any

import pytest

from tests.model.store.conftest import Opener
from tests.model.store.samples import batches, conversation, going, items, queued, response
from tests.model.store.test_removal import rows
from trivet.model_service.adapters.store import references
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Change


async def holders(store: SqlStore, *names: str, owner: str = "me") -> dict[str, str]:
    """The id of the response that has each of these items."""
    return {name: found.id for name, found in (await store.holders(names, owner)).items()}


async def in_conversations(store: SqlStore, *names: str, owner: str = "me") -> list[str]:
    return sorted(item.id for item in await store.find_items(names, owner))


# ---- in responses ------------------------------------------------------------------------------------------------------


async def test_a_response_is_found_by_each_of_its_items(store: SqlStore) -> None:
    first, second = response(item_ids=["msg_1", "msg_2", "msg_1", ""]), response()
    await store.add(first)
    await store.add(second, Change(item_ids=["msg_3"]))

    assert await store.holders(["msg_2", "msg_3", "msg_1"], "me") == {"msg_1": first, "msg_2": first, "msg_3": second}
    assert await holders(store, "msg_4", "") == {}
    assert await holders(store) == {}
    assert (await rows(store))["held_items"] == 3


async def test_a_response_is_found_by_what_it_got_later(store: SqlStore) -> None:
    kept = queued(item_ids=["msg_1"])
    await store.add(kept)
    assert await store.take(kept.id, "here")

    assert await holders(store, "msg_1", "msg_2") == {"msg_1": kept.id}
    assert await store.change(kept.id, Change(status="completed", response=b"whole", item_ids=["msg_2"]), runner="here")

    found = await store.holders(["msg_1", "msg_2"], "me")
    assert {name: (one.id, one.response) for name, one in found.items()} == dict.fromkeys(["msg_1", "msg_2"], (kept.id, b"whole"))


async def test_what_a_run_needs_is_not_told_with_it(store: SqlStore) -> None:
    kept = queued(item_ids=["msg_1"])
    await store.add(kept)

    assert (await store.holders(["msg_1"], "me"))["msg_1"].request == b""


async def test_a_change_that_is_not_made_adds_no_items(store: SqlStore) -> None:
    kept = going()
    await store.add(kept, runner="here")

    assert not await store.change(kept.id, Change(events=batches((0, 1)), item_ids=["msg_1"]), runner="there")

    assert await holders(store, "msg_1") == {}
    assert "held_items" not in await rows(store)


async def test_items_are_nobody_elses(store: SqlStore) -> None:
    mine, yours = response(item_ids=["msg_1"]), response(owner="you", item_ids=["msg_1", "msg_2"])
    await store.add(mine)
    await store.add(yours)

    assert await holders(store, "msg_1", "msg_2") == {"msg_1": mine.id}
    assert await holders(store, "msg_1", "msg_2", owner="you") == {"msg_1": yours.id, "msg_2": yours.id}
    assert await holders(store, "msg_1", owner="") == {}


async def test_of_several_with_an_item_the_newest_is_told_as_long_as_it_is_there(store: SqlStore) -> None:
    first, second, expired = (response(item_ids=["msg_1"], expires_at=end) for end in (0, 0, 1))
    for one in (first, second, expired):
        await store.add(one)

    assert await holders(store, "msg_1") == {"msg_1": second.id}
    await store.delete(second.id, "me")
    assert await holders(store, "msg_1") == {"msg_1": first.id}
    await store.delete(first.id, "me")
    assert await holders(store, "msg_1") == {}


async def test_what_others_went_on_from_is_not_found_by_its_items_once_it_is_deleted(store: SqlStore) -> None:
    first = response(item_ids=["msg_1"])
    second = response(previous_id=first.id, item_ids=["msg_2"])
    await store.add(first)
    await store.add(second)

    await store.delete(first.id, "me")

    assert await holders(store, "msg_1", "msg_2") == {"msg_2": second.id}
    assert len(await store.lineage(second.id, "me")) == 2
    assert await rows(store) == {"responses": 2, "held_items": 1}


async def test_what_goes_leaves_no_items(opened: Opener) -> None:
    store = await opened(retention_days=30)
    talk = conversation(created_at=1)
    await store.add_conversation(talk, items("msg_1"))
    for _ in range(3):
        await store.add(response(created_at=1, item_ids=["msg_1", "msg_2"]))

    assert await store.sweep() == 3
    assert await rows(store) == {}


STRANGE = ["msg_\x00", "%", "msg_é\u202e", "m" * 100_000, "' OR 1 --", "\N{FAMILY}"]


async def test_an_id_may_be_anything(store: SqlStore) -> None:
    kept, talk = response(item_ids=STRANGE[::2]), conversation()
    await store.add(kept)
    await store.add_conversation(talk, items(*STRANGE[1::2]))

    assert await holders(store, *STRANGE) == dict.fromkeys(STRANGE[::2], kept.id)
    assert await in_conversations(store, *STRANGE) == sorted(STRANGE[1::2])


async def test_any_number_of_items_is_found_at_once(store: SqlStore) -> None:
    names = [f"msg_{number}" for number in range(2_500)]
    first, second, talk = response(item_ids=names[:1_250]), response(item_ids=names[1_250:]), conversation()
    await store.add(first)
    await store.add(second)
    await store.add_conversation(talk, items(*names))

    found = await holders(store, *names, *names)

    assert found == dict.fromkeys(names[:1_250], first.id) | dict.fromkeys(names[1_250:], second.id)
    assert await in_conversations(store, *names) == sorted(names)


# ---- in conversations --------------------------------------------------------------------------------------------------


async def test_items_of_conversations_are_found_whichever_they_are_in(store: SqlStore) -> None:
    left, right, theirs = conversation(), conversation(), conversation(owner="you")
    await store.add_conversation(left, items("msg_1"))
    await store.add_conversation(right, items("msg_2"))
    await store.add_conversation(theirs, items("msg_1", "msg_5"))
    await store.add_items(left.id, items("msg_3"))
    kept = going(conversation_id=right.id)
    await store.add(kept)
    await store.change(kept.id, Change(items=items("msg_4")))
    asked = [f"msg_{number}" for number in range(7)]

    assert await store.find_items(["msg_1"], "me") == items("msg_1")
    assert await in_conversations(store, *asked) == ["msg_1", "msg_2", "msg_3", "msg_4"]
    assert await in_conversations(store, *asked, owner="you") == ["msg_1", "msg_5"]
    assert await in_conversations(store) == []


async def test_an_item_is_found_as_long_as_a_conversation_has_it(store: SqlStore) -> None:
    left, right = conversation(), conversation()
    for talk in (left, right):
        await store.add_conversation(talk, items("msg_1", "msg_2"))

    await store.delete_item(left.id, "msg_1")
    assert await in_conversations(store, "msg_1", "msg_2") == ["msg_1", "msg_2"]
    await store.delete_conversation(right.id, "me")
    assert await in_conversations(store, "msg_1", "msg_2") == ["msg_2"]


# ---- how long it takes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_of_many_with_an_item_one_alone_is_read(store: SqlStore) -> None:
    """An upstream may begin to count anew with each answer."""
    made = [response(item_ids=["msg_0"]) for _ in range(300)]
    for one in made:
        await store.add(one)
    reads = 0

    def count(*_: object) -> int:
        nonlocal reads
        reads += 1
        return 0

    def watched(connection: Any, asked: Any) -> Any:
        driver = connection.connection.driver_connection
        driver.set_progress_handler(count, 10)
        try:
            return references.holders(connection, asked)
        finally:
            driver.set_progress_handler(None, 0)

    found = await store._reading.do(watched, (["msg_0"], "me"))

    assert found["msg_0"].id == made[-1].id
    assert reads < 50
