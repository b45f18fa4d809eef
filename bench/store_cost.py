"""What it costs to keep responses: the same plain call with `store: true` and `store: false`, by turns, in one run.

    .venv/bin/python -m bench.store_cost

One process with SQLite, an upstream that answers at once, many calls at a time. Prints calls per second and the gateway's CPU
per call, best of the rounds, and the ratios. The absolute numbers are the machine's; the ratios are what to compare.
"""

import asyncio
import time

import uvloop

from bench.load.client import connected
from bench.scale.looks import with_body
from bench.site import Running, answering, neighbours
from bench.targets.trivet import OneProcess
from bench.upstream.scripts import PLAIN

CALLS = 2_000
AT_ONCE = 32
ROUNDS = 5


async def measure(one: Running, store: bool) -> tuple[float, float]:
    """Seconds and CPU seconds of the gateway for one round of calls."""
    left = iter(range(CALLS))
    request = with_body(one, "responses", {"input": PLAIN.prompt(), "store": store})

    async def caller() -> None:
        async with connected(one.port) as connection:
            for _ in left:
                await connection.ask(request)

    started, cpu = time.perf_counter(), one.cpu_seconds()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return time.perf_counter() - started, one.cpu_seconds() - cpu


async def measure_in_turn(one: Running) -> dict[bool, list[float]]:
    """The best of the rounds, of either kind."""
    rounds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    await measure(one, True)
    for _ in range(ROUNDS):
        for store in (False, True):
            rounds[store].append(await measure(one, store))
    return {store: [min(figures) for figures in zip(*measured, strict=True)] for store, measured in rounds.items()}


def main() -> None:
    with neighbours() as around, answering(OneProcess(), around.site("trivet")) as one:
        best = uvloop.run(measure_in_turn(one))
    for store, (seconds, cpu) in sorted(best.items()):
        print(f"store: {store!s:5}  {CALLS / seconds:7.0f} calls/s   {cpu / CALLS * 1e6:6.0f} us CPU per call")
    print(
        f"throughput with store: {best[False][0] / best[True][0]:.2f} of that without; CPU {best[True][1] / best[False][1]:.2f}"
    )


if __name__ == "__main__":
    main()
