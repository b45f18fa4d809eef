"""Several processes on the same ports: they share the work, and live and end together."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.checkers.chat_stream import check_chat_sse
from tests.e2e.bodies import PATHS, body
from tests.e2e.frames import read_until
from tests.e2e.runs import DONE
from tests.e2e.shapes import AUTHORIZATION, Shape, World, alone
from tests.standalone.compose import KEY
from tests.standalone.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOUND = 60
MANY = 24
"""So many connections are never dealt out to one worker only."""

Workers = tuple[Running, Shape]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def workers(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workers]:
    folder = tmp_path_factory.mktemp("workers")
    async with alone(world, folder, workers=2, reload="signal") as (process, shape):
        yield process, shape


def pids(process: Running) -> set[int]:
    """The processes that `process` has started."""
    return {int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}


def connections(pid: int, url: str) -> int:
    """How many connections to `url` the process has accepted."""
    port = f":{int(url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    accepted = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(port) and line[3] == "01"}
    return sum(_target(file) in accepted for file in Path(f"/proc/{pid}/fd").iterdir())


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # closed since it was listed
        return ""


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.05)


async def on_new_connections(url: str, path: str = "/v1/usage", key: str = KEY) -> list[tuple[int, Any]]:
    """The answers to one request on each of many connections."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"}, connector=connector) as http:

        async def ask() -> tuple[int, Any]:
            async with http.get(path) as answer:
                return answer.status, await answer.json()

        return [await ask() for _ in range(MANY)]


async def streams(stack: AsyncExitStack, shape: Shape, gate: asyncio.Event) -> list[tuple[aiohttp.ClientResponse, bytes]]:
    """Streams that have begun, each on a connection of its own, and go on at the gate."""
    http = await stack.enter_async_context(
        aiohttp.ClientSession(shape.url, headers={"Authorization": AUTHORIZATION}, timeout=aiohttp.ClientTimeout(BOUND))
    )
    said = DONE.script("lab", streamed=True)
    for _ in range(MANY):
        shape.upstream.play(*said[:3], gate, *said[3:])
    asked = body("chat", "lab/m", streamed=True)
    begun = [await stack.enter_async_context(http.post(PATHS["chat"], json=asked)) for _ in range(MANY)]
    return [(given, await read_until(given, b"All ")) for given in begun]


async def test_the_work_is_shared(workers: Workers) -> None:
    process, shape = workers
    gate = asyncio.Event()
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        begun = await streams(stack, shape, gate)
        held = [connections(pid, shape.url) for pid in pids(process)]
        gate.set()
        ended = [seen + await given.content.read() for given, seen in begun]

    assert len(held) == 2
    assert min(held) > 0
    assert [check_chat_sse(raw) for raw in ended] == [[]] * MANY


async def test_calls_go_on_when_a_worker_is_killed_and_another_takes_its_place(workers: Workers) -> None:
    process, shape = workers
    before = pids(process)
    os.kill(min(before), signal.SIGKILL)

    async with asyncio.timeout(BOUND):
        said = await asyncio.to_thread(process.read_until, "a worker has ended and is started again")
        answers = await on_new_connections(shape.url)
        await asyncio.to_thread(process.read_until, "a worker serves again")

    assert "ended_by=SIGKILL" in said[-1]
    assert [status for status, _ in answers] == [200] * MANY
    assert pids(process) & before == {max(before)}
    assert len(pids(process)) == 2


async def test_at_sighup_each_reads_the_configuration_again(workers: Workers) -> None:
    process, shape = workers
    file = Path(f"/proc/{process.pid}/cwd").readlink() / "trivet.yaml"
    before = file.read_text(encoding="utf-8")
    async with asyncio.timeout(BOUND):
        file.write_text(before.replace(KEY, "sk-fresh"), encoding="utf-8")
        await _hang_up(process)
        let_in = [status for status, _ in await on_new_connections(shape.url, key="sk-fresh")]
        refused = [status for status, _ in await on_new_connections(shape.url)]
        file.write_text(before, encoding="utf-8")
        await _hang_up(process)

    assert let_in == [200] * MANY
    assert refused == [401] * MANY


async def _hang_up(process: Running) -> None:
    process.hang_up()
    for _ in range(2):
        await asyncio.to_thread(process.read_until, "configuration reloaded")


async def test_what_one_makes_in_the_background_is_found_by_all(workers: Workers) -> None:
    _, shape = workers
    shape.upstream.play(DONE.script("lab", streamed=True))
    asked = {"model": "lab/m", "input": "Hello", "background": True}
    async with asyncio.timeout(BOUND):
        _, made = await shape.post("/v1/responses", asked)
        while made["status"] in ("queued", "in_progress"):
            async with shape.http.get(f"/v1/responses/{made['id']}") as answer:
                made = await answer.json()
        found = await on_new_connections(shape.url, f"/v1/responses/{made['id']}")

    assert {(status, response["status"]) for status, response in found} == {(200, "completed")}


async def test_told_to_end_all_finish_their_streams_and_take_no_more(world: World, tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with asyncio.timeout(BOUND), alone(world, tmp_path, workers=2) as (process, shape), AsyncExitStack() as stack:
        begun = await streams(stack, shape, gate)
        process.terminate()
        await until(lambda: _refused(shape.url))
        gate.set()
        ended = [seen + await given.content.read() for given, seen in begun]
        code = await asyncio.to_thread(process.wait)

    assert [check_chat_sse(raw) for raw in ended] == [[]] * MANY
    assert code == 0


async def test_they_end_with_the_process_that_has_started_them(world: World, tmp_path: Path) -> None:
    async with asyncio.timeout(BOUND), alone(world, tmp_path, workers=2) as (process, _):
        started = pids(process)
        await asyncio.to_thread(process.kill)
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))

    assert len(started) == 2


async def test_a_key_that_is_made_is_the_same_for_all(tmp_path: Path) -> None:
    command = ["trivet", "serve", "--workers", "2", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRIVET_")}
    with Running(command, clean, tmp_path) as process:
        said = "\n".join(await asyncio.to_thread(process.read_until, "key   "))
        url, key = said.partition("REST  ")[2].partition("/v1")[0], said.partition("key   ")[2].split()[0]
        answers = await on_new_connections(url, key=key)

    assert "is serving in 2 processes" in said
    assert [status for status, _ in answers] == [200] * MANY


@pytest.mark.parametrize(
    ("sections", "code", "told"),
    [
        ({"store": {"url": "sqlite:////dev/null/trivet.db"}}, 1, "giving up: no worker can be started"),
        ({"server": {"grpc": "unix:trivet.sock"}}, 2, "a Unix socket cannot be shared by several workers"),
        ({"server": {"http": "TAKEN"}}, 1, "cannot listen on TAKEN: Address already in use"),
    ],
)
async def test_what_keeps_them_from_starting_is_said_once(sections: Any, code: int, told: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as listening:
        taken = f"127.0.0.1:{listening.getsockname()[1]}"
        server = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", "workers": 2, **sections.get("server", {})}
        whole = {"auth": {"keys": [{"name": "k", "key": "sk-k"}]}, **sections, "server": server}
        (tmp_path / "trivet.yaml").write_text(json.dumps(whole).replace("TAKEN", taken), encoding="utf-8")
        with Running(["trivet", "serve"], os.environ, tmp_path) as process:
            said = "\n".join(await asyncio.to_thread(process.read_until, told.replace("TAKEN", taken)))
            ended = await asyncio.to_thread(process.wait)

    assert ended == code
    assert said.count("trivet: cannot open the store") <= 1


def _refused(url: str) -> bool:
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0
