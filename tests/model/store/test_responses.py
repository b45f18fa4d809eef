"""Responses: kept, changed, found by their owners."""

import pytest

from tests.model.store.conftest import Opener
from tests.model.store.samples import batches, conversation, going, items, queued, response
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Change, StoredEvents


async def test_a_response_is_found_as_it_was_kept(store: SqlStore, opened: Opener) -> None:
    kept = response(previous_id="resp_0", conversation_id="conv_0", streamed=True, expires_at=9_000_000_000)

    await store.add(kept)

    assert await store.get(kept.id, "me") == kept
    assert await (await opened()).get(kept.id, "me") == kept


async def test_a_response_is_nobody_elses(store: SqlStore) -> None:
    kept = response()
    await store.add(kept)

    assert await store.get(kept.id, "you") is None
    assert not await store.lineage(kept.id, "you")
    assert not await store.delete(kept.id, "you")
    assert await store.get(kept.id, "me") == kept


@pytest.mark.parametrize("identity", ["", "resp_unknown", "resp_\x00", "resp_\ud800", "resp_é\u202e", "r" * 100_000, "' OR 1 --"])
async def test_an_id_that_was_never_given_is_not_found(store: SqlStore, identity: str) -> None:
    assert await store.get(identity, "me") is None
    assert not await store.lineage(identity, "me")
    assert not await store.delete(identity, "me")
    assert await store.get_conversation(identity, "me") is None
    assert not await store.update_conversation(identity, "me", {})
    assert not await store.delete_conversation(identity, "me")


async def test_a_response_is_not_found_once_it_has_expired_even_before_it_is_swept(store: SqlStore) -> None:
    expired = response(expires_at=1)
    await store.add(expired)

    assert await store.get(expired.id, "me") is None
    assert not await store.lineage(expired.id, "me")
    assert not await store.delete(expired.id, "me")


async def test_any_bytes_are_kept_and_large_ones_too(store: SqlStore) -> None:
    kept = response(owner="Zoë 🎈", input=bytes(range(256)) * 20_000, response=b"\x00" * 5_000_000)

    await store.add(kept)

    assert await store.get(kept.id, "Zoë 🎈") == kept


async def test_a_response_is_kept_together_with_what_is_known_of_it_already(store: SqlStore) -> None:
    talk = conversation()
    await store.add_conversation(talk, ())
    kept = going(conversation_id=talk.id)
    change = Change(
        events=batches((0, 3)), steps={"a": b"1"}, items=items("msg_1"), status="queued", response=b'{"status": "queued"}'
    )

    await store.add(kept, change)

    found = await store.get(kept.id, "me")
    assert found is not None
    assert (found.status, found.response) == ("queued", b'{"status": "queued"}')
    assert await store.events(kept.id, -1) == batches((0, 3))
    assert await store.steps(kept.id) == {"a": b"1"}
    assert await store.items(talk.id) == items("msg_1")


async def test_a_response_that_is_kept_as_ended_has_nothing_left_of_its_run(store: SqlStore) -> None:
    kept = queued()

    await store.add(kept, Change(steps={"a": b"1"}, status="completed"), runner="here")

    found = await store.get(kept.id, "me")
    assert found is not None
    assert (found.status, found.request) == ("completed", b"")
    assert await store.steps(kept.id) == {}
    assert await store.renew("here") == []
    assert await store.claim("there", 9) is None


# ---- changes -----------------------------------------------------------------------------------------------------------


async def test_a_change_is_made_whole(store: SqlStore) -> None:
    talk = conversation()
    await store.add_conversation(talk, ())
    kept = going(conversation_id=talk.id)
    await store.add(kept)

    assert await store.change(kept.id, Change(events=batches((0, 1)), steps={"a": b"1", "b\x00": b"2"}))
    assert await store.change(kept.id, Change(events=batches((2, 5)), steps={"a": b"3"}, status="in_progress"))
    assert await store.steps(kept.id) == {"a": b"3", "b\x00": b"2"}
    assert await store.change(kept.id, Change(response=b"so far"))
    assert await store.change(
        kept.id, Change(events=batches((6, 6)), items=items("msg_1", "msg_2"), status="failed", response=b"whole")
    )

    found = await store.get(kept.id, "me")
    assert found is not None
    assert (found.status, found.response, found.input) == ("failed", b"whole", kept.input)
    assert await store.events(kept.id, -1) == batches((0, 1), (2, 5), (6, 6))
    assert await store.items(talk.id) == items("msg_1", "msg_2")


async def test_a_response_that_has_ended_is_changed_no_more(store: SqlStore) -> None:
    kept = going()
    await store.add(kept)

    assert await store.change(kept.id, Change(status="cancelled", response=b"cancelled"))
    assert not await store.change(kept.id, Change(events=batches((0, 1)), status="completed", response=b"completed"))
    assert not await store.take(kept.id, "late")

    found = await store.get(kept.id, "me")
    assert found is not None
    assert (found.status, found.response) == ("cancelled", b"cancelled")
    assert await store.events(kept.id, -1) == []


async def test_a_response_that_is_gone_is_changed_no_more(store: SqlStore) -> None:
    kept = going()
    await store.add(kept)
    await store.delete(kept.id, "me")

    assert not await store.change(kept.id, Change(events=batches((0, 1))))
    assert not await store.change("resp_unknown", Change(events=batches((0, 1))))
    assert await store.events(kept.id, -1) == []


async def test_the_end_of_a_run_removes_what_it_remembered_and_asked(store: SqlStore) -> None:
    kept = queued()
    await store.add(kept, Change(steps={"call_1": b"result"}))

    assert await store.change(kept.id, Change(status="completed"))

    found = await store.get(kept.id, "me")
    assert found is not None
    assert found.request == b""
    assert await store.steps(kept.id) == {}
    assert (await store.waiting("me")) == (0, 0)


async def test_items_go_to_a_conversation_once_and_only_while_it_is_there(store: SqlStore) -> None:
    talk = conversation()
    await store.add_conversation(talk, items("msg_1"))
    kept = going(conversation_id=talk.id)
    await store.add(kept)

    assert await store.change(kept.id, Change(items=items("msg_1", "msg_2", "msg_2")))
    assert await store.items(talk.id) == items("msg_1", "msg_2")

    await store.delete_conversation(talk.id, "me")
    assert await store.change(kept.id, Change(items=items("msg_3"), status="completed"))
    assert await store.items(talk.id) == []


async def test_no_event_is_numbered_twice(store: SqlStore) -> None:
    kept = going()
    await store.add(kept, Change(events=batches((0, 4))))

    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.change(kept.id, Change(events=batches((0, 4)), status="completed"))

    found = await store.get(kept.id, "me")
    assert found is not None
    assert found.status == "in_progress"


# ---- events ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "limit", "firsts"),
    [
        (-1, 200, [0, 3, 4, 10]),
        (0, 200, [0, 3, 4, 10]),
        (1, 200, [0, 3, 4, 10]),
        (2, 200, [3, 4, 10]),
        (3, 200, [4, 10]),
        (8, 200, [4, 10]),
        (9, 1, [10]),
        (12, 200, []),
        (99, 200, []),
        (2**63 - 1, 200, []),
        (-1, 2, [0, 3]),
        (3, 1, [4]),
    ],
)
async def test_events_after_a_number(store: SqlStore, after: int, limit: int, firsts: list[int]) -> None:
    kept, other = going(), going()
    await store.add(kept, Change(events=batches((0, 2), (3, 3), (4, 9))))
    await store.add(other, Change(events=batches((0, 99))))
    await store.change(kept.id, Change(events=batches((10, 12))))

    assert [batch.first for batch in await store.events(kept.id, after, limit)] == firsts


async def test_a_long_stream_is_read_in_parts(store: SqlStore) -> None:
    kept = going()
    await store.add(kept, Change(events=[StoredEvents(n, n, b"%d" % n) for n in range(450)]))

    numbers: list[int] = []
    while part := await store.events(kept.id, numbers[-1] if numbers else -1):
        numbers += [batch.first for batch in part]

    assert numbers == list(range(450))


# ---- lineage -----------------------------------------------------------------------------------------------------------


async def test_a_lineage_begins_with_the_oldest(store: SqlStore) -> None:
    first = response()
    second = response(previous_id=first.id)
    branch = response(previous_id=first.id)
    third = response(previous_id=second.id)
    for one in (first, second, branch, third):
        await store.add(one)

    assert await store.lineage(third.id, "me") == [first, second, third]
    assert await store.lineage(branch.id, "me") == [first, branch]
    assert await store.lineage(first.id, "me") == [first]


async def test_a_lineage_may_be_long(store: SqlStore) -> None:
    line = [response()]
    await store.add(line[0])
    for _ in range(150):
        line.append(response(previous_id=line[-1].id))
        await store.add(line[-1])

    assert await store.lineage(line[-1].id, "me") == line


async def test_a_lineage_that_lacks_one_is_none(store: SqlStore) -> None:
    """One was deleted after it was read and before the response that went on from it was kept: never a shorter history."""
    orphan = response(previous_id="resp_deleted_meanwhile")
    heir = response(previous_id=orphan.id)
    await store.add(orphan)
    await store.add(heir)

    assert await store.get(orphan.id, "me") == orphan
    assert await store.lineage(orphan.id, "me") == []
    assert await store.lineage(heir.id, "me") == []
