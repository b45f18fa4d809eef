"""What it costs to keep responses: the same plain call with `store: true` and `store: false`, by turns, in one run.

    .venv/bin/python -m bench.store_cost

One process with SQLite, an upstream that answers at once, many calls at a time. Prints calls per second and the gateway's CPU
per call, best of the rounds, and the ratios. The absolute numbers are the machine's; the ratios are what to compare.
"""

import asyncio
import time

import uvloop

from bench.gateway import Gateway, gateway

CALLS = 2_000
AT_ONCE = 32
ROUNDS = 5


async def measure(served: Gateway, store: bool) -> tuple[float, float]:
    """Seconds and CPU seconds of the gateway for one round of calls."""
    left = iter(range(CALLS))
    body = {"model": "mock/m", "input": "How many legs has a trivet?", "store": store}

    async def caller() -> None:
        for _ in left:
            await served.ask("/v1/responses", body)

    started, cpu = time.perf_counter(), served.cpu_seconds()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return time.perf_counter() - started, served.cpu_seconds() - cpu


async def main() -> None:
    rounds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    async with gateway() as served:
        await measure(served, True)
        for _ in range(ROUNDS):
            for store in (False, True):
                rounds[store].append(await measure(served, store))
    best = {store: [min(figures) for figures in zip(*measured, strict=True)] for store, measured in rounds.items()}
    for store, (seconds, cpu) in sorted(best.items()):
        print(f"store: {store!s:5}  {CALLS / seconds:7.0f} calls/s   {cpu / CALLS * 1e6:6.0f} us CPU per call")
    print(
        f"throughput with store: {best[False][0] / best[True][0]:.2f} of that without; CPU {best[True][1] / best[False][1]:.2f}"
    )


if __name__ == "__main__":
    uvloop.run(main())
