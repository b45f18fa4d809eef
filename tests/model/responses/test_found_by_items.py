"""However a response ends, it is found by the items that it has then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.model.responses.halting import Halting
from tests.model.responses.kept import OWNER, sqlite
from tests.model.responses.makers import Maker, failing, plan, turn, working
from tests.model.responses.service import Json, over_dialect
from tests.model.responses.turning import Turning, saying
from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.responses.item_ids import item_ids
from trivet.model_service.responses.keeping import recording
from trivet.model_service.responses.keeping.records import ENDED, response_of


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    async with sqlite(tmp_path) as opened:
        yield opened


async def found_by(store: SqlStore, names: list[str]) -> list[str]:
    """The responses that are found by these items."""
    held = await store.holders(names, OWNER)
    return [held[name].id for name in names if name in held]


def ids(response: Json) -> list[str]:
    return [item["id"] for item in response["output"]]


@pytest.mark.parametrize("streamed", [True, False])
async def test_what_is_answered_is_found_by_its_input_and_its_output(streamed: bool, store: SqlStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        given = (await alice.stream())[-1]["response"] if streamed else await alice.create()
        page = await alice.ask("ListInputItems", response_id=given["id"])

    assert await found_by(store, [page["first_id"], *ids(given)]) == [given["id"]] * 2


async def test_a_stream_that_fails_on_the_way_is_found_by_what_it_has(store: SqlStore) -> None:
    halting = Halting(UpstreamFailed("It broke."))
    halting.gate.set()
    async with over_dialect(halting, store) as (alice, _):
        given = (await alice.stream())[-1]["response"]

    assert given["status"] == "failed"
    assert await found_by(store, ids(given)) == [given["id"]]


async def test_a_stream_that_was_left_is_found_by_what_it_has(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_FIRST_PAUSE", 0.0)
    async with over_dialect(Halting(), store) as (alice, _):
        async with asyncio.timeout(30), aclosing(alice.events()) as events:
            name = (await anext(events))["response"]["id"]
            while (await anext(events))["type"] != "response.output_text.delta":
                pass
        async with asyncio.timeout(30):
            while (stored := await store.get(name, OWNER)) is None or stored.status not in ENDED:
                await asyncio.sleep(0)

    assert stored.status == "cancelled"
    assert await found_by(store, item_ids(response_of(stored).output)) == [name]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_what_ends_in_the_background_is_found_by_what_it_has(status: str, tmp_path: Path) -> None:
    scripts = {"completed": turn(), "failed": failing(UpstreamFailed("It broke.")), "cancelled": turn(asyncio.Event())}
    async with working(tmp_path, Maker(scripts[status])) as one:
        name = (await one.runs.start(plan())).id
        async with asyncio.timeout(20), aclosing(one.follower.follow(name, OWNER)) as batches:
            async for batch in batches:
                if status == "cancelled" and any(event.HasField("output_item_added") for event in batch.events):
                    await one.runs.cancel(name, OWNER)
        stored = await one.store.get(name, OWNER)
        assert stored is not None
        names = item_ids(response_of(stored).output)
        found = await found_by(one.store, names)

    assert stored.status == status
    assert names
    assert found == [name] * len(names)
