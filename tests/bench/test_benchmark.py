"""The benchmark measures what it says: its upstream, its clients, its checks, and what it makes of figures."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from bench.load.client import Broken, connected
from bench.measures.agent_run import agent_run
from bench.report.chart import chart
from bench.report.results import Results
from bench.report.table import tables
from bench.site import Neighbours, answering, neighbours
from bench.streams import Stream, paced
from bench.targets.field import FIELD
from bench.targets.floor import Floor
from bench.targets.target import Face, Request
from bench.targets.trivet import OneProcess
from bench.upstream.scripts import AGENT, BURST, PACED, PLAIN, Script, script_in

MACHINE = {"processor": "any", "cores": 1, "memory_gb": 1, "system": "any", "python": "3", "packages": {}, "commit": "any"}
HEAD = {"machine": MACHINE, "command": "bench", "at": "now", "targets": {"floor": "1"}, "loads": {"plain": 8}}


@pytest.mark.parametrize("script", [PLAIN, BURST, PACED, AGENT, Script("tagged", 3, 10, "s7")], ids=lambda script: script.kind)
def test_a_prompt_says_what_the_upstream_is_to_do(script: Script) -> None:
    assert script_in(Floor().request("chat", script).body) == script


def test_a_body_without_a_prompt_for_it_is_answered_plainly() -> None:
    assert script_in(b'{"messages": []}') == PLAIN


@pytest.mark.parametrize(
    ("came", "wrong"),
    [
        (["s1.0", "s1.1", "s1.2"], ""),
        (["s1.0", "s1.2"], "s1.2 came where s1.1 was due"),
        (["s1.0", "s1.0"], "s1.0 came where s1.1 was due"),
        (["s2.0"], "s2.0 came where s1.0 was due"),
    ],
    ids=["whole", "lost", "doubled", "foreign"],
)
def test_a_chunk_that_is_not_due_is_found(came: list[str], wrong: str) -> None:
    events = b"".join(b'data: {"delta":" %s"}\n\n' % text.encode() for text in came)
    stream = Stream("s1", 0.0)

    for at in range(0, len(events), 7):
        stream.take(events[at : at + 7])

    assert stream.wrong == wrong
    assert stream.came == len(came)


def test_deltas_that_were_merged_count_as_all_of_them() -> None:
    stream = Stream("s1", 0.0)

    stream.take(b'data: {"content":" s1.0 s1.1"}\n\n')

    assert (stream.came, stream.wrong) == (2, "")


@pytest.fixture(scope="module")
def around() -> Iterator[Neighbours]:
    with neighbours() as running:
        yield running


@pytest.mark.parametrize("face", ["chat", "responses", "messages"])
@pytest.mark.parametrize("script", [PLAIN, Script("burst", 30), Script("paced", 3, 1)], ids=lambda script: script.kind)
def test_the_upstream_speaks_every_dialect(around: Neighbours, face: Face, script: Script) -> None:
    async def ask() -> bytes:
        async with connected(around.upstream) as connection:
            request = Floor().request(face, script)
            # Twice, because connections are kept.
            await connection.ask(request)
            return (await connection.ask(request)).body

    body = uvloop.run(ask())

    assert f" word{script.size - 1}".encode() in body
    assert body.startswith(b"{") is not script.streamed


def test_an_answer_that_is_an_error_is_no_measurement(around: Neighbours) -> None:
    async def ask() -> None:
        async with connected(around.mcp) as connection:
            await connection.ask(Request("/nothing", {}, b""))

    with pytest.raises(Broken, match="status 404"):
        uvloop.run(ask())


def test_trivet_is_measured_from_end_to_end(around: Neighbours) -> None:
    with answering(OneProcess(), around.site("trivet")) as one:
        seen = paced(one, "chat", streams=3, pause_ms=1, seconds=0.01)
        runs = [agent_run(one, around, face, 2) for face in one.target.agents]

    assert (seen.wrong, seen.chunks) == ([], 30)
    assert seen.microseconds > 0
    assert seen.memory_bytes > 0
    assert [(run.initialize, run.list_tools) for run in runs] == [(0, 0), (0, 0)]
    assert all(run.cpu_ms > 0 for run in runs)


def test_peers_that_are_not_installed_say_how_they_are(tmp_path: Path) -> None:
    peers = [target for target in FIELD if not target.version(tmp_path)]

    assert {target.name for target in peers} == {"smg", "tensorzero", "ferrogw", "portkey", "litellm"}
    assert all("$PEERS" in target.install for target in peers)


def test_the_median_of_the_rounds_is_told_in_units_of_the_floor(tmp_path: Path) -> None:
    results = Results.empty(**HEAD)
    for target, rounds in {"floor": (100.0, 120.0, 90.0), "trivet": (150.0, 140.0, 130.0)}.items():
        for microseconds in rounds:
            figures = {"microseconds": microseconds, "per_second": 1.0, "failed": 0}
            results.add_round(target, "chat", "plain", figures)
    results.add_failure("smg", "start", "it did not")
    results.write(tmp_path / "results.json")

    read = Results.read(tmp_path / "results.json")

    assert read.ratio("trivet", "chat", "plain") == pytest.approx(1.4)
    assert "140 (1.40 x)" in tables(read)
    assert "- smg, start: it did not" in tables(read)
    assert "1.40 (140.0 us)" in "".join(ET.fromstring(chart(read)).itertext())
