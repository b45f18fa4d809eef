"""Whoever follows a response sees all of its events once, in order, whenever they come and whoever stores them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.checkers.responses_stream import check_responses_stream
from tests.model.responses import kept
from tests.model.responses.kept import OWNER, a_whole_stream, say, stored
from tests.model.responses.recorded import as_json, told
from trivet.kernel.errors import InvalidRequest, ResponseNotFound
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Change
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.background import follower as following
from trivet.model_service.responses.background.follower import Follower

Events = list[ResponseEvent]
BOUND = 60


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    async with kept.sqlite(tmp_path) as opened:
        yield opened


@pytest.fixture
def announcements() -> Announcements:
    return Announcements()


@pytest.fixture
def follower(store: SqlStore, announcements: Announcements) -> Follower:
    return Follower(store, announcements)


@pytest.fixture
def only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by itself within a test: who hears of something was told."""
    monkeypatch.setattr(following, "_FIRST_LOOK", 600.0)
    monkeypatch.setattr(following, "_LAST_LOOK", 600.0)


async def read(batches: AsyncGenerator[ResponseEventBatch]) -> Events:
    async with asyncio.timeout(BOUND), aclosing(batches):
        return [event async for batch in batches for event in batch.events]


async def read_until(batches: AsyncGenerator[ResponseEventBatch], number: int) -> Events:
    events: Events = []
    async with asyncio.timeout(BOUND):
        while len(events) <= number:
            events += (await anext(batches)).events
    return events


async def whole(store: SqlStore, cuts: tuple[int, ...] = (2, 7, 20)) -> tuple[Response, Events]:
    """A stored response that has ended, its events stored in some pieces."""
    response = told()
    begun = Response.FromString(response.SerializeToString())
    events = a_whole_stream(response)
    await store.add(stored(begun))
    edges = [0, *cuts, len(events)]
    for begin, end in pairwise(edges):
        await say(store, response, events[begin:end], begin)
    return response, events


async def test_the_stream_of_a_response_that_has_ended_is_repeated(store: SqlStore, follower: Follower) -> None:
    response, events = await whole(store)

    again = await read(follower.follow(response.id, OWNER))

    assert again == events
    assert check_responses_stream(as_json(again)) == []


async def test_any_end_of_the_stream_is_repeated_with_the_same_numbers(store: SqlStore, follower: Follower) -> None:
    response, events = await whole(store)

    for after in range(-1, len(events) + 2):
        assert await read(follower.follow(response.id, OWNER, after)) == events[after + 1 :]


async def test_a_stream_of_many_pieces_is_read_page_by_page(store: SqlStore, follower: Follower) -> None:
    response, events = await whole(store, tuple(range(1, len(a_whole_stream(told())))))

    assert len(events) > 2 * following._AT_ONCE
    assert await read(follower.follow(response.id, OWNER)) == events


@pytest.mark.usefixtures("only_told")
async def test_who_is_ahead_of_the_events_is_answered_at_once(store: SqlStore, follower: Follower) -> None:
    response = told()
    await store.add(stored(Response.FromString(response.SerializeToString())))

    async with asyncio.timeout(BOUND), aclosing(follower.follow(response.id, OWNER)) as batches:
        first = await anext(batches)

    assert first == ResponseEventBatch()


@pytest.mark.usefixtures("only_told")
async def test_who_follows_is_told_of_what_comes(store: SqlStore, follower: Follower, announcements: Announcements) -> None:
    response = told()
    await store.add(stored(Response.FromString(response.SerializeToString())))
    events = a_whole_stream(response)
    readers = [asyncio.create_task(read(follower.follow(response.id, OWNER, after))) for after in (-1, 4, 1000)]
    for at, event in enumerate(events):
        await say(store, response, [event], at)
        announcements.announce(response.id)

    assert [await reader for reader in readers] == [events, events[5:], []]


async def test_what_another_process_stores_is_found(store: SqlStore, follower: Follower, tmp_path: Path) -> None:
    response = told()
    await store.add(stored(Response.FromString(response.SerializeToString())))
    events = a_whole_stream(response)
    reader = asyncio.create_task(read(follower.follow(response.id, OWNER)))
    async with kept.sqlite(tmp_path) as other:
        await say(other, response, events[:9], 0)
        await say(other, response, events[9:], 9)

        assert await reader == events


async def test_who_begins_beyond_what_there_is_gets_what_comes_after_it(store: SqlStore, follower: Follower) -> None:
    response = told()
    await store.add(stored(Response.FromString(response.SerializeToString())))
    events = a_whole_stream(response)
    await say(store, response, events[:3], 0)
    reader = asyncio.create_task(read(follower.follow(response.id, OWNER, 10)))
    await say(store, response, events[3:9], 3)
    await say(store, response, events[9:], 9)

    assert await reader == events[11:]


@pytest.mark.usefixtures("only_told")
async def test_who_is_slow_or_leaves_holds_nobody_back(store: SqlStore, follower: Follower, announcements: Announcements) -> None:
    response = told()
    await store.add(stored(Response.FromString(response.SerializeToString())))
    events = a_whole_stream(response)
    await say(store, response, events[:3], 0)
    slow, gone = (follower.follow(response.id, OWNER) for _ in range(2))
    assert await read_until(slow, 2) == await read_until(gone, 2) == events[:3]
    await gone.aclose()
    quick = asyncio.create_task(read(follower.follow(response.id, OWNER)))
    await say(store, response, events[3:], 3)
    announcements.announce(response.id)

    assert await quick == events
    assert await read(slow) == events[3:]
    assert announcements._listeners == {}


@pytest.mark.usefixtures("only_told")
async def test_following_ends_with_an_error_when_the_response_is_deleted(
    store: SqlStore, follower: Follower, announcements: Announcements
) -> None:
    response = told()
    await store.add(stored(Response.FromString(response.SerializeToString())))
    await say(store, response, a_whole_stream(response)[:3], 0)
    batches = follower.follow(response.id, OWNER)
    await read_until(batches, 2)
    await store.delete(response.id, OWNER)
    announcements.announce(response.id)

    with pytest.raises(ResponseNotFound):
        await read(batches)


async def test_an_end_whose_events_are_not_there_is_an_end(store: SqlStore, follower: Follower) -> None:
    response = told()
    await store.add(stored(response))
    await store.change(response.id, Change(status="failed"))

    assert await read(follower.follow(response.id, OWNER)) == []


async def test_nobody_follows_what_is_not_theirs(store: SqlStore, follower: Follower) -> None:
    response, _ = await whole(store)

    for of, owner in ((response.id, "bob"), ("resp_other", OWNER)):
        with pytest.raises(ResponseNotFound):
            await read(follower.follow(of, owner))


async def test_a_response_without_events_is_not_followed(store: SqlStore, follower: Follower) -> None:
    response = told()
    await store.add(stored(response, streamed=False, background=False, status="completed"))

    with pytest.raises(InvalidRequest) as refused:
        await read(follower.follow(response.id, OWNER))
    assert refused.value.param == "stream"


def _lost_between(store: SqlStore, act: Callable[[], Any]) -> None:
    """Let something happen right after the store was read."""
    reading = store.events

    async def events(*arguments: Any) -> Any:
        found = await reading(*arguments)
        store.events = reading  # type: ignore[method-assign]
        await act()
        return found

    store.events = events  # type: ignore[method-assign, assignment]


@pytest.mark.usefixtures("only_told")
async def test_what_comes_between_a_look_and_the_wait_is_not_missed(
    store: SqlStore, follower: Follower, announcements: Announcements
) -> None:
    response = told()
    await store.add(stored(Response.FromString(response.SerializeToString())))
    events = a_whole_stream(response)

    async def the_rest() -> None:
        await say(store, response, events, 0)
        announcements.announce(response.id)

    _lost_between(store, the_rest)

    assert await read(follower.follow(response.id, OWNER)) == events
