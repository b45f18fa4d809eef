"""Conversations and their items."""

import asyncio
import sys

import pytest

from tests.model.store.conftest import Opener
from tests.model.store.samples import conversation, items
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Order, StoredItem


async def test_a_conversation_is_found_as_it_was_kept(store: SqlStore, opened: Opener) -> None:
    talk = conversation(metadata={"topic": "Zoë\x00🎈"})

    await store.add_conversation(talk, items("msg_1", "msg_2"))

    other = await opened()
    assert await other.get_conversation(talk.id, "me") == talk
    assert await other.items(talk.id) == items("msg_1", "msg_2")


async def test_a_conversation_is_nobody_elses(store: SqlStore) -> None:
    talk = conversation()
    await store.add_conversation(talk, ())

    assert await store.get_conversation(talk.id, "you") is None
    assert not await store.update_conversation(talk.id, "you", {"a": "b"})
    assert not await store.delete_conversation(talk.id, "you")
    assert await store.get_conversation(talk.id, "me") == talk


async def test_new_notes_take_the_place_of_all_old_ones(store: SqlStore) -> None:
    talk = conversation(metadata={"a": "1", "b": "2"})
    await store.add_conversation(talk, ())

    assert await store.update_conversation(talk.id, "me", {"c": "3"})

    found = await store.get_conversation(talk.id, "me")
    assert found is not None
    assert found.metadata == {"c": "3"}


async def test_a_deleted_conversation_is_gone_with_its_items(store: SqlStore) -> None:
    talk, other = conversation(), conversation()
    await store.add_conversation(talk, items("msg_1"))
    await store.add_conversation(other, items("msg_1"))

    assert await store.delete_conversation(talk.id, "me")
    assert not await store.delete_conversation(talk.id, "me")

    assert await store.get_conversation(talk.id, "me") is None
    assert await store.items(talk.id) == []
    assert not await store.add_items(talk.id, items("msg_2"))
    assert await store.items(other.id) == items("msg_1")


async def test_items_are_added_at_the_end(store: SqlStore) -> None:
    talk = conversation()
    await store.add_conversation(talk, items("z", "y"))

    assert await store.add_items(talk.id, items("x", "w"))
    assert await store.delete_item(talk.id, "w")
    assert await store.add_items(talk.id, items("v"))

    assert await store.items(talk.id) == items("z", "y", "x", "v")


@pytest.mark.parametrize("added", [("b", "a"), ("b", "b")])
async def test_of_items_all_are_added_or_none(store: SqlStore, added: tuple[str, ...]) -> None:
    talk = conversation()
    await store.add_conversation(talk, items("a"))

    assert not await store.add_items(talk.id, items(*added))

    assert await store.items(talk.id) == items("a")


async def test_who_add_at_once_each_get_a_place(store: SqlStore, opened: Opener) -> None:
    other = await opened()
    talk = conversation()
    await store.add_conversation(talk, ())

    added = [items(f"{n}a", f"{n}b") for n in range(40)]
    assert all(await asyncio.gather(*((store, other)[n % 2].add_items(talk.id, pair) for n, pair in enumerate(added))))

    kept = [item.id for item in await store.items(talk.id)]
    assert len(kept) == 80
    assert all(kept[at + 1] == f"{kept[at][:-1]}b" for at in range(0, 80, 2))


@pytest.mark.parametrize("name", ["", "a\x00b", "é🎈", "\ud800", "n" * 1_000, sys.executable])
async def test_an_item_may_have_any_id(store: SqlStore, name: str) -> None:
    talk = conversation()
    await store.add_conversation(talk, ())
    item = StoredItem(name, b"x" * 5_000_000)

    assert await store.get_item(talk.id, name) is None
    assert await store.add_items(talk.id, [item])

    assert await store.get_item(talk.id, name) == item
    assert not await store.add_items(talk.id, [item])
    assert await store.delete_item(talk.id, name)
    assert not await store.delete_item(talk.id, name)
    assert await store.get_item(talk.id, name) is None


@pytest.mark.parametrize(
    ("order", "after", "limit", "names"),
    [
        ("asc", "", 20, "abcde"),
        ("desc", "", 20, "edcba"),
        ("asc", "", 2, "ab"),
        ("desc", "", 2, "ed"),
        ("asc", "b", 2, "cd"),
        ("desc", "b", 2, "a"),
        ("asc", "e", 2, ""),
        ("desc", "a", 2, ""),
    ],
)
async def test_items_are_listed_in_pages(store: SqlStore, order: Order, after: str, limit: int, names: str) -> None:
    talk = conversation()
    await store.add_conversation(talk, items(*"abcde"))

    assert await store.list_items(talk.id, after=after, limit=limit, order=order) == items(*names)


async def test_a_page_after_an_item_that_is_not_there_is_none(store: SqlStore) -> None:
    talk, other = conversation(), conversation()
    await store.add_conversation(talk, items("a"))
    await store.add_conversation(other, items("b"))

    assert await store.list_items(talk.id, after="b") is None
    assert await store.list_items(talk.id, after="\x00") is None
    assert await store.get_item(talk.id, "b") is None
