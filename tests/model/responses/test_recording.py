"""Responses kept behind their streams: what callers see of it, and what is left when a stream ends in any way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.model.responses.halting import Halting
from tests.model.responses.kept import OWNER, sqlite
from tests.model.responses.service import Caller, over, over_dialect, refused
from tests.model.responses.turning import Turning, registry_of, saying
from tests.model.responses.unsteady_store import UnsteadyStore
from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.errors import Overloaded, UpstreamFailed
from trivet.kernel.testing import TRANSPORTS, Transport
from trivet.model_service.responses.keeping import recorder, recording
from trivet.model_service.server import compose
from trivet.model_service.settings import ModelSettings

AWAY = Overloaded("The store cannot be reached now; try again.")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[UnsteadyStore]:
    async with sqlite(tmp_path) as opened:
        yield UnsteadyStore(opened)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written behind a stream is, whenever there is something to write."""
    monkeypatch.setattr(recording, "_FIRST_PAUSE", 0.0)


async def until_written(store: UnsteadyStore) -> None:
    """Something is, or could not be."""
    async with asyncio.timeout(30):
        await store.written.wait()
        store.written.clear()


async def first(caller: Caller, seen: list[dict[str, Any]], **body: Any) -> None:
    """Read a stream up to the first half of its text, and leave it."""
    async with asyncio.timeout(30), aclosing(caller.events(**body)) as events:
        async for event in events:
            seen.append(event)
            if event["type"] == "response.output_text.delta":
                return


async def ended(caller: Caller, name: str) -> dict[str, Any]:
    """The response, as soon as it has ended."""
    async with asyncio.timeout(30):
        while (response := await caller.get(name))["status"] == "in_progress":
            await asyncio.sleep(0)
    return response


# ---- while it goes out -------------------------------------------------------------------------------------------------


async def test_a_stream_is_told_as_in_progress_by_what_is_stored_of_it(store: UnsteadyStore) -> None:
    halting = Halting()
    async with over_dialect(halting, store, "in-process") as (alice, _):
        async with aclosing(alice.events()) as events:
            name = (await anext(events))["response"]["id"]
            await until_written(store)
            response = await alice.get(name)
            following = asyncio.create_task(alice.follow(name))
            halting.gate.set()
            rest = [event async for event in events]

        assert (response["status"], response["id"]) == ("in_progress", name)
        assert (await following)[1:] == rest
        assert (await alice.get(name)) == rest[-1]["response"]


async def test_a_slow_store_holds_back_the_end_alone(store: UnsteadyStore) -> None:
    store.open.clear()
    async with over_dialect(Turning(saying("One", " two.")), store) as (alice, _), aclosing(alice.events()) as events:
        seen = [await anext(events) for _ in range(6)]
        assert seen[-1]["type"] == "response.output_text.delta"
        last = asyncio.create_task(anext(events))
        store.open.set()

        rest = [await last, *[event async for event in events]]
        kept = await alice.follow(seen[0]["response"]["id"])

    assert kept == [*seen, *rest]


async def test_a_stream_takes_few_transactions(store: UnsteadyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_FIRST_PAUSE", 60.0)
    async with over_dialect(Turning(saying(*map(str, range(2000)))), store) as (alice, _):
        events = await alice.stream()
        assert len(events) == 2008
        assert 2 <= store.writes <= 4

        assert await alice.follow(events[0]["response"]["id"]) == events


async def test_a_short_stream_takes_one(store: UnsteadyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_FIRST_PAUSE", 60.0)
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        await alice.stream()

    assert store.writes == 1


async def test_a_stream_that_is_deleted_while_it_goes_out_ends_well(store: UnsteadyStore) -> None:
    halting = Halting()
    async with over_dialect(halting, store) as (alice, _):
        async with aclosing(alice.events()) as events:
            name = (await anext(events))["response"]["id"]
            await until_written(store)
            await alice.ask("DeleteResponse", response_id=name)
            halting.gate.set()
            rest = [event async for event in events]

        assert rest[-1]["type"] == "response.completed"
        assert (await refused(alice.get(name))).reason == "RESPONSE_NOT_FOUND"


async def test_nothing_is_kept_of_what_fails_before_it_begins(store: UnsteadyStore) -> None:
    async with over_dialect(Turning(UpstreamFailed("It broke.")), store) as (alice, _):
        for call in (alice.create(), alice.stream()):
            assert (await refused(call)).reason == "UPSTREAM_FAILED"

    assert store.writes == 0


async def test_a_stream_that_fails_on_the_way_is_kept_as_failed(store: UnsteadyStore) -> None:
    halting = Halting(UpstreamFailed("It broke."))
    halting.gate.set()
    async with over_dialect(halting, store) as (alice, _):
        events = await alice.stream()

        assert events[-1]["type"] == "response.failed"
        assert await alice.get(events[0]["response"]["id"]) == events[-1]["response"]


# ---- a store that is away ----------------------------------------------------------------------------------------------


async def test_what_cannot_be_kept_is_not_answered(store: UnsteadyStore) -> None:
    store.fault = AWAY
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        assert (await refused(alice.create())).reason == "OVERLOADED"
        assert (await alice.create(store=False))["status"] == "completed"


@pytest.mark.parametrize("fault", [AWAY, RuntimeError("a fault of ours")], ids=["away", "broken"])
async def test_a_stream_that_cannot_be_kept_goes_on_and_ends_as_failed(
    fault: Exception, store: UnsteadyStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fault = fault
    async with over_dialect(Turning(saying("One", " two.")), store) as (alice, _):
        events = await alice.stream()

    last = events[-1]["response"]
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2]["message"] == "The response could not be stored."
    assert last["output"][0]["content"][0]["text"] == "One two."
    assert await store.get(last["id"], OWNER) is None
    assert f"response {last['id']}: its end cannot be stored" in caplog.text


async def test_a_store_that_is_back_in_time_has_all_of_it(store: UnsteadyStore) -> None:
    halting = Halting()
    store.fault = AWAY
    async with over_dialect(halting, store) as (alice, _), aclosing(alice.events()) as events:
        seen = [await anext(events)]
        await until_written(store)
        store.fault = None
        halting.gate.set()
        seen += [event async for event in events]

        assert seen[-1]["type"] == "response.completed"
        assert await alice.follow(seen[0]["response"]["id"]) == seen


async def test_what_waited_long_is_stored_in_pieces_that_a_reader_can_hold(
    store: UnsteadyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "PIECE_BYTES", 500)
    monkeypatch.setattr(recording, "_FIRST_PAUSE", 60.0)
    async with over_dialect(Turning(saying(*map(str, range(50)))), store) as (alice, _):
        events = await alice.stream()
        name = events[0]["response"]["id"]
        pieces = await store.events(name, -1)

        assert await alice.follow(name) == events
    assert store.writes == 1
    assert len(pieces) > 5
    assert [piece.first for piece in pieces[1:]] == [piece.last + 1 for piece in pieces[:-1]]
    assert sum(len(piece.data) > 500 for piece in pieces) <= 3, "only what is larger alone"


async def test_a_store_that_is_away_is_not_asked_with_each_event(store: UnsteadyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_ENOUGH", 1)
    monkeypatch.setattr(recording, "_FIRST_PAUSE", 60.0)
    store.fault = AWAY
    async with over_dialect(Turning(saying(*map(str, range(50)))), store) as (alice, _):
        await alice.stream()

    # The first event, the end, and what was left of it.
    assert store.writes <= 3


async def test_what_was_left_while_the_store_was_away_is_ended_when_it_is_back(
    store: UnsteadyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_RETRY_SECONDS", 0.01)
    seen: list[dict[str, Any]] = []
    halting = Halting()
    async with over_dialect(halting, store) as (alice, _):
        async with aclosing(alice.events()) as events:
            seen.append(await anext(events))
            await until_written(store)
            store.fault = AWAY
        await until_written(store)
        await until_written(store)
        store.fault = None
        response = await ended(alice, seen[0]["response"]["id"])

    assert response["status"] == "cancelled"


async def test_a_process_that_ends_does_not_wait_for_a_store_that_is_away(store: UnsteadyStore) -> None:
    halting = Halting()
    service = compose(ModelSettings(), registry_of(halting), AddressGuard(), store)  # type: ignore[arg-type]
    async with over(service) as (alice, _):
        async with aclosing(alice.events()) as events:
            name = (await anext(events))["response"]["id"]
            await until_written(store)
            store.fault = AWAY
        await until_written(store)
    async with asyncio.timeout(30):
        await service.recorder.aclose()

    kept = await store.get(name, OWNER)
    assert kept is not None
    assert kept.status == "in_progress"


async def test_what_waits_for_a_store_has_its_limit(store: UnsteadyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_MOST", 1000)
    store.open.clear()
    texts = [f"{number} words and words and words" for number in range(100)]
    async with over_dialect(Turning(saying(*texts)), store) as (alice, _):
        reading = asyncio.create_task(alice.stream())
        async with aclosing(alice.events()) as events:
            async for event in events:
                if event.get("delta") == texts[-1]:
                    break
        store.open.set()
        events_seen = await reading

    assert events_seen[-1]["type"] == "response.failed"


# ---- streams that are left ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("written", [True, False])
async def test_a_stream_that_was_left_is_cancelled(transport: Transport, written: bool, store: UnsteadyStore) -> None:
    halting = Halting()
    if not written:
        store.open.clear()
    seen: list[dict[str, Any]] = []
    async with over_dialect(halting, store, transport) as (alice, _):
        await first(alice, seen)
        await asyncio.wait_for(halting.left.wait(), 5)
        store.open.set()
        await until_written(store)
        name = seen[0]["response"]["id"]
        response = await ended(alice, name)
        events = await alice.follow(name)

    assert response["status"] == "cancelled"
    assert response["output"][0]["status"] == "incomplete"
    assert events[: len(seen)] == seen
    assert (events[-1]["type"], events[-1]["response"]) == ("response.incomplete", response)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize("pause", [0.0, 60.0], ids=["while written behind", "while its end is written"])
async def test_a_stream_that_was_left_at_its_end_is_complete(
    pause: float, store: UnsteadyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_FIRST_PAUSE", pause)
    store.open.clear()
    seen: list[dict[str, Any]] = []
    halting = Halting()

    async def read(caller: Caller) -> None:
        async with aclosing(caller.events()) as events:
            async for event in events:
                seen.append(event)
                halting.gate.set()

    async with over_dialect(halting, store) as (alice, _):
        reading = asyncio.create_task(read(alice))
        async with asyncio.timeout(30):
            await halting.said.wait()
            await store.asked.wait()
        reading.cancel()
        await asyncio.wait([reading])
        store.open.set()
        await until_written(store)
        response = await ended(alice, seen[0]["response"]["id"])

    assert seen[-1]["type"] == "response.output_text.delta"
    assert response["status"] == "completed"


async def test_a_stream_that_ends_with_its_server_is_failed(store: UnsteadyStore) -> None:
    halting = Halting()
    service = compose(ModelSettings(), registry_of(halting), AddressGuard(), store)  # type: ignore[arg-type]
    seen: list[dict[str, Any]] = []

    async def read(caller: Caller) -> None:
        seen.extend([event async for event in caller.events()])

    async with over(service) as (alice, _):
        reading = asyncio.create_task(read(alice))
        await until_written(store)
    await service.recorder.aclose()
    await asyncio.wait([reading])
    async with over(service) as (alice, _):
        (name,) = await _names(store)
        response = await alice.get(name)

    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert reading.exception() is not None


async def test_what_a_process_streams_is_claimed_by_it(store: UnsteadyStore) -> None:
    halting = Halting()
    async with over_dialect(halting, store) as (alice, _), aclosing(alice.events()) as events:
        name = (await anext(events))["response"]["id"]
        await until_written(store)

        assert await store.claim_stray("another") is None
        assert await store.take(name, "another")
        halting.gate.set()
        rest = [event async for event in events]

    # Whoever took it has its own end for it, and two would be one too many.
    assert rest[-1]["type"] == "response.failed"


async def test_what_is_seen_is_one_good_stream(store: UnsteadyStore) -> None:
    halting = Halting()
    seen: list[dict[str, Any]] = []
    async with over_dialect(halting, store) as (alice, _):
        await first(alice, seen)
        name = seen[0]["response"]["id"]
        await until_written(store)
        await ended(alice, name)
        events = await alice.follow(name)

    assert [found for found in check_responses_stream(events) if "cancelled" not in found] == []


async def _names(store: UnsteadyStore) -> list[str]:
    from trivet.model_service.adapters.store import schema

    def names(connection: Any, _: Any) -> Any:
        return [[row.id for row in connection.execute(schema.responses.select())]]

    found: list[str] = await store._reading.do(names, OWNER)
    return found
