"""Cost against how many responses are stored. The rows are written into the store's file directly, as copies of one."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import aiohttp
import uvloop

from bench.load import ask
from bench.measures.memory import settle
from bench.scale.curve import Curve, Figures
from bench.scale.looks import microseconds, with_body
from bench.site import Neighbours, Running, answering
from bench.targets.target import KEY
from bench.targets.trivet import OneProcess
from bench.upstream.scripts import PLAIN

_ROWS = (1_000, 10_000, 100_000, 1_000_000)
_ASKED = {"input": PLAIN.prompt(), "store": True}
_READS = 200


def _measured(around: Neighbours, seconds: float) -> Iterator[tuple[int, Figures]]:
    site = around.site("stored")
    target = OneProcess(store={"url": f"sqlite:///{site.folder / 'trivet.db'}", "max_bytes": None})
    have = 0
    for rows in _ROWS:
        if not have:
            with answering(target, site) as one:
                _store(one)
        _fill(site.folder / "trivet.db", have + 1, rows)
        have = rows
        with answering(target, site) as one:
            settle(one)
            first = _store(one)
            goes_on = {**_ASKED, "previous_response_id": first}
            yield (
                rows,
                {
                    "store us": microseconds(one, with_body(one, "responses", _ASKED), seconds),
                    "go on us": microseconds(one, with_body(one, "responses", goes_on), seconds),
                    "read ms": uvloop.run(_read(one, first)),
                    "file MB": (site.folder / "trivet.db").stat().st_size / 1e6,
                },
            )


def _store(one: Running) -> str:
    status, body = ask.post(one.port, with_body(one, "responses", _ASKED))
    assert status == 200, body
    return str(json.loads(body)["id"])


def _fill(file: Path, first: int, last: int) -> None:
    """Copies of the newest response and of its items, with ids of their own."""
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        (newest,) = database.execute("SELECT id FROM responses ORDER BY created_at DESC, id DESC LIMIT 1").fetchone()
        numbers = f"WITH RECURSIVE number(i) AS (SELECT {first:d} UNION ALL SELECT i + 1 FROM number WHERE i < {last:d})"
        for table, key in (("responses", "id"), ("held_items", "response_id")):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] != "position"]
            copied = {key: "'resp_00' || printf('%046x', i)", "item_id": "CAST('msg_00' || printf('%046x', i) AS BLOB)"}
            values = ", ".join(copied.get(column, f'"{column}"') for column in columns)
            names = ", ".join(f'"{column}"' for column in columns)
            database.execute(
                f"{numbers} INSERT INTO {table} ({names}) SELECT {values} FROM number, (SELECT * FROM {table} WHERE {key} = ?)",
                [newest],
            )


async def _read(one: Running, response: str) -> float:
    """The median time of reading one, in milliseconds."""
    took = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{one.port}", headers={"Authorization": f"Bearer {KEY}"}) as http:
        for _ in range(_READS):
            began = time.perf_counter()
            async with http.get(f"/v1/responses/{response}") as answer:
                assert answer.status == 200
                await answer.read()
            took.append((time.perf_counter() - began) * 1e3)
    return float(median(took))


CURVES = [
    Curve(
        "stored",
        "stored responses",
        "CPU of one response that is stored, and of one that goes on from it; reading one",
        _measured,
    )
]
