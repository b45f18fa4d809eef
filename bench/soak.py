"""Whether memory stays flat: many stored responses, then many streams that are left half-way and resumed.

    .venv/bin/python -m bench.soak

Prints the resident memory of the gateway after each step; the first step warms up. Everything that is read is checked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import uvloop

from bench.gateway import Gateway, gateway

STORED = 20_000
RESUMED = 2_000
STEPS = 5
AT_ONCE = 32
MODEL = "mock/m"


async def many(count: int, once: Callable[[], Awaitable[None]]) -> None:
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await once()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def stored(served: Gateway) -> None:
    made = await served.ask("/v1/responses", {"model": MODEL, "input": "hello"})
    assert made["status"] == "completed"
    assert made["store"] is True


async def resumed(served: Gateway) -> None:
    """A background stream that is left after its first events and read to its end by its number."""
    body = {"model": MODEL, "input": "hello", "stream": True, "background": True}
    async with served.http.post("/v1/responses", json=body) as answer:
        first = [await _event(answer.content) for _ in range(3)]
    path = f"/v1/responses/{first[0]['response']['id']}?stream=true&starting_after={first[-1]['sequence_number']}"
    numbers = [event["sequence_number"] for event in first]
    async with served.http.get(path) as answer:
        while (event := await _event(answer.content)) is not None:
            numbers.append(event["sequence_number"])
            kind = event["type"]
    assert numbers == list(range(len(numbers)))
    assert kind == "response.completed"


async def _event(content: Any) -> Any:
    async for line in content:
        if line.startswith(b"data: {"):
            return orjson.loads(line[6:])
    return None


async def main() -> None:
    async with gateway() as served:
        await many(500, lambda: stored(served))
        await many(100, lambda: resumed(served))
        print(f"{'warm':>24}  {served.megabytes():6.1f} MB")
        for step in range(1, STEPS + 1):
            await many(STORED // STEPS, lambda: stored(served))
            print(f"{step * STORED // STEPS:>7} responses stored  {served.megabytes():6.1f} MB")
        for step in range(1, STEPS + 1):
            await many(RESUMED // STEPS, lambda: resumed(served))
            print(f"{step * RESUMED // STEPS:>7} streams resumed   {served.megabytes():6.1f} MB")


if __name__ == "__main__":
    uvloop.run(main())
