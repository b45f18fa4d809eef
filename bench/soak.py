"""Whether memory stays flat under everything at once, for minutes.

    python -m bench.soak [--minutes 10] [--rows 2000]

Callers that never stop: plain chat, streams, stored responses, background streams that are left half-way and resumed by their number,
and agent runs. Whatever they read is checked. Prints memory twice a minute, and fails if the last third of the time has a tenth more
than the third before it. The store keeps at most `--rows` responses' worth of bytes, so that its own growth, which is a file's, is no
matter.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any

import aiohttp
import uvloop

from bench.load.client import connected
from bench.scale.looks import with_body
from bench.site import Running, answering, neighbours
from bench.targets.target import KEY, Face
from bench.targets.trivet import OneProcess
from bench.upstream.scripts import AGENT, BURST, PLAIN, Script

_LOOKS_SECONDS = 30.0
_ALLOWED_GROWTH = 1.10
_BYTES_A_ROW = 2_000
_RESUMED = Script("burst", 20)

done: Counter[str] = Counter()


class Soak:
    """A target, and a session for what our own small client does not do."""

    def __init__(self, one: Running, http: aiohttp.ClientSession, until: float) -> None:
        self._one = one
        self._http = http
        self._until = until

    async def run(self) -> list[int]:
        """All callers at once: the memory at each look."""
        callers = [
            self._asking("plain chat", "chat", PLAIN, b" word39"),
            self._asking("streamed chat", "chat", BURST, b" word199"),
            self._asking("streamed response", "responses", BURST, b" word199"),
            self._asking("agent run", "agent", AGENT, b" word19"),
            self._asking("agent response", "responses", AGENT, b" word19"),
            self._over_and_over("stored response", self._stored),
            self._over_and_over("resumed stream", self._resumed),
        ]
        looking = asyncio.create_task(self._looks())
        await asyncio.gather(*(caller for caller in callers))
        return await looking

    async def _looks(self) -> list[int]:
        looks = []
        while time.monotonic() < self._until:
            await asyncio.sleep(min(_LOOKS_SECONDS, max(0.0, self._until - time.monotonic())))
            looks.append(self._one.memory_bytes())
            print(f"{looks[-1] / 1e6:7.1f} MB  {dict(done)}", flush=True)
        return looks

    async def _asking(self, what: str, face: Face, script: Script, last: bytes) -> None:
        async with connected(self._one.port) as connection:

            async def once() -> None:
                (await connection.ask(self._one.target.request(face, script))).first_with(last)

            await self._over_and_over(what, once)

    async def _over_and_over(self, what: str, once: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self._until:
            await once()
            done[what] += 1

    async def _stored(self) -> None:
        request = with_body(self._one, "responses", {"input": PLAIN.prompt()})
        async with self._http.post(request.path, data=request.body, headers=request.headers) as answer:
            made = await answer.json()
        assert made["status"] == "completed", made
        assert made["store"] is True

    async def _resumed(self) -> None:
        """A background stream that is left after its first events and read to its end by its number."""
        body = {"input": _RESUMED.prompt(), "stream": True, "background": True}
        request = with_body(self._one, "responses", body)
        async with self._http.post(request.path, data=request.body, headers=request.headers) as answer:
            first = [await _event(answer.content) for _ in range(3)]
        path = f"/v1/responses/{first[0]['response']['id']}?stream=true&starting_after={first[-1]['sequence_number']}"
        numbers, kind = [event["sequence_number"] for event in first], ""
        async with self._http.get(path) as answer:
            while (event := await _event(answer.content)) is not None:
                numbers.append(event["sequence_number"])
                kind = event["type"]
        assert numbers == list(range(len(numbers)))
        assert kind == "response.completed", kind


async def _event(content: Any) -> Any:
    async for line in content:
        if line.startswith(b"data: {"):
            return json.loads(line[6:])
    return None


async def soak(one: Running, minutes: float) -> list[int]:
    """The memory at each look."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{one.port}", headers=headers) as http:
        return await Soak(one, http, time.monotonic() + minutes * 60).run()


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rows", type=int, default=2_000)
    arguments = parser.parse_args(argv)
    with neighbours() as around:
        site = around.site("trivet")
        store = {"url": f"sqlite:///{site.folder / 'trivet.db'}", "max_bytes": arguments.rows * _BYTES_A_ROW, "sweep_seconds": 10}
        with answering(OneProcess(store=store), site) as one:
            looks = uvloop.run(soak(one, arguments.minutes))
    third = max(1, len(looks) // 3)
    before, last = median(looks[-2 * third : -third] or looks), median(looks[-third:])
    flat = last <= before * _ALLOWED_GROWTH
    print(f"the last third: {last / 1e6:.1f} MB, the one before: {before / 1e6:.1f} MB: {'flat' if flat else 'it grows'}")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
