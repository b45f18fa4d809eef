"""Background responses whose processes are killed: each ends once, nothing is lost, said twice or done twice.

A few runs by default. `TRIVET_KILL_RUNS=50` makes it what it is for; the figures are printed (`-s`).
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.e2e.frames import Json, data_of, read_until
from tests.e2e.kill_farm import ROUNDS, Farm, Seen, client, farm, repeated
from tests.e2e.kill_readers import ENDS, begin, follow, poll, replay
from tests.upstreams.postgres import Postgres, postgres_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNS = int(os.environ.get("TRIVET_KILL_RUNS", "0"))
SHAPES = [(store, processes, tools) for store in ("sqlite", "postgres") for processes in (1, 3) for tools in (True, False)]
FEW = [("sqlite", 3, True), ("postgres", 1, True)]
BOUND = 300 + 10 * RUNS


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Makes the URL of an empty store."""

    def new(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path}/shared.db"
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database()

    return new


@pytest.mark.parametrize(("kind", "processes", "tools"), SHAPES if RUNS else FEW)
async def test_killed_at_any_moment_each_response_ends_once(
    new_store: Callable[[str], str], kind: str, processes: int, tools: bool, tmp_path: Path
) -> None:
    async with asyncio.timeout(BOUND), farm(tmp_path, new_store(kind), processes) as there, client() as http:
        seen = [await begin(http, there, f"job{number}", tools=tools) for number in range(RUNS or 3)]
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as killing:
            killing.create_task(kill_again_and_again(there, seen, enough))
            async with asyncio.TaskGroup() as readers:
                for one in seen:
                    readers.create_task(follow(http, there, one, 0))
                    readers.create_task(follow(http, there, one, 1))
                    readers.create_task(poll(http, there, one))
            enough.set()
        replays = await replayed(http, there, seen)

    for one, again in zip(seen, replays, strict=True):
        check(one, again, tools=tools)
    told = repeated(seen, there)
    print(f"\n{kind}, {processes} processes, {len(seen)} runs, {len(there.kills)} kills: {told}")
    assert told["repeated though told as done"] == []
    assert there.kills


async def kill_again_and_again(there: Farm, seen: list[Seen], enough: asyncio.Event) -> None:
    """Kill one process after the other, each in the middle of whatever it does, but let something get done in between."""
    before = -1
    async with asyncio.TaskGroup() as starting:
        while not enough.is_set():
            done = sum(one.finished for one in seen)
            if there.urls and done > before:
                before = done
                await asyncio.sleep(random.uniform(0, 1))
                starting.create_task(there.kill(random.choice(list(there.urls))))
            await asyncio.sleep(0.05)


async def replayed(http: aiohttp.ClientSession, there: Farm, seen: list[Seen]) -> list[list[list[Json]]]:
    """The stream of each once more, from a process that saw nothing of it."""
    await there.start(99)
    return [[await replay(http, there.urls[99], one.response_id)] for one in seen]


def check(seen: Seen, replays: list[list[Json]], *, tools: bool) -> None:
    """Everybody saw the same stream, which is a good one."""
    whole, rest = seen.streams
    assert check_responses_stream(whole, taken_up=True) == []
    assert [event["type"] for event in whole if event["type"] in ENDS] == ["response.completed"]
    assert rest == whole[len(whole) - len(rest) :]
    assert replays == [whole] * len(replays)
    assert seen.polled[-1] == whole[-1]["response"]
    statuses = [told["status"] for told in seen.polled]
    assert statuses == sorted(statuses, key=["queued", "in_progress", "completed"].index)
    done = [item for item in seen.polled[-1]["output"] if item["type"] == "mcp_call" and item["status"] == "completed"]
    assert sorted(item["output"] for item in done) == sorted(f"{seen.job}/{step}" for step in range(2 * ROUNDS * tools))


async def test_a_process_that_is_told_to_end_hands_over_at_once(new_store: Callable[[str], str], tmp_path: Path) -> None:
    async with asyncio.timeout(BOUND), farm(tmp_path, new_store("sqlite"), 1) as there, client() as http:
        there.model.going.clear()
        one = await begin(http, there, "job", tools=True)
        reading = [asyncio.create_task(follow(http, there, one, reader)) for reader in (0, 1)]
        polling = asyncio.create_task(poll(http, there, one))
        await until(lambda: "Round" in str(one.streams[0]))
        code = await asyncio.to_thread(there.processes[0].stop)
        there.model.going.set()
        # What was told to end leaves no mark against the response, nor a claim that others would have to wait for.
        await there.start(0, max_attempts=1)
        await asyncio.gather(*reading, polling)
        replays = await replayed(http, there, [one])

    assert code == 0
    check(one, replays[0], tools=True)


async def test_a_stream_that_outlasts_the_grace_is_stored_as_failed(new_store: Callable[[str], str], tmp_path: Path) -> None:
    async with asyncio.timeout(BOUND), farm(tmp_path, new_store("sqlite"), 1) as there, client() as http:
        there.model.going.clear()
        async with http.post(f"{there.url()}/v1/responses", json={"model": "lab/m", "input": "job", "stream": True}) as said:
            name = data_of(await read_until(said, b"\n\n"))[0]["response"]["id"]
            await asyncio.to_thread(there.processes[0].stop)
            assert b'"overloaded"' in await said.read()
        await there.start(0)
        async with http.get(f"{there.url()}/v1/responses/{name}") as kept:
            response = await kept.json()

    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")


async def test_a_process_that_stood_still_writes_nothing_more(new_store: Callable[[str], str], tmp_path: Path) -> None:
    async with asyncio.timeout(BOUND), farm(tmp_path, new_store("sqlite"), 1) as there, client() as http:
        there.model.going.clear()
        one = await begin(http, there, "job", tools=True)
        reading = [asyncio.create_task(follow(http, there, one, reader)) for reader in (0, 1)]
        await until(lambda: "Round" in str(one.streams[0]))
        there.processes[0].suspend()
        first = there.urls.pop(0)
        await there.start(1)
        # The first one is said what it has waited for, and cannot hear it.
        there.model.going.set()
        # Its readers have to ask another.
        for reader in reading:
            reader.cancel()
        one.streams[:] = [[], []]
        await asyncio.gather(follow(http, there, one, 0), follow(http, there, one, 1), poll(http, there, one))
        there.processes[0].resume()
        await asyncio.to_thread(there.processes[0].read_until, "is left to others")
        replays = [await replay(http, url, one.response_id) for url in (first, *there.urls.values())]

    check(one, replays, tools=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)
