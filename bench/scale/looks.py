"""How one point of a curve is looked at: one request after the other over one connection, the floor and Trivet by turns."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import uvloop

from bench.load.client import connected
from bench.measures.memory import settle
from bench.site import Neighbours, Running, answering
from bench.targets.floor import Floor
from bench.targets.target import PATHS, Face, Request
from bench.targets.trivet import OneProcess

_LEAST = 3
_ROUNDS = 2


@contextmanager
def floor_and_trivet(around: Neighbours, **sections: Any) -> Iterator[tuple[Running, Running]]:
    """Both, with these sections of Trivet's configuration."""
    with answering(Floor(), around.site("floor")) as floor:
        with answering(OneProcess(**sections), around.site("trivet")) as trivet:
            settle(trivet)
            yield floor, trivet


def with_body(one: Running, face: Face, body: Mapping[str, Any]) -> Request:
    """A request with this body, for the model that the target has."""
    named = {"model": one.target.model, **body}
    return Request(PATHS[face], one.target.headers(face), json.dumps(named).encode())


def microseconds(one: Running, request: Request, seconds: float) -> float:
    """CPU of one request, the mean over that time."""
    return uvloop.run(_microseconds(one, request, seconds))


async def _microseconds(one: Running, request: Request, seconds: float) -> float:
    async with connected(one.port) as connection:
        await connection.ask(request)
        began, cpu, count = time.monotonic(), one.cpu_seconds(), 0
        while count < _LEAST or time.monotonic() - began < seconds:
            await connection.ask(request, lambda _: None)
            count += 1
        return (one.cpu_seconds() - cpu) / count * 1e6


def compared(both: Sequence[Running], face: Face, body: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """The floor's and Trivet's microseconds for one request, the best of two looks each, and their ratio."""
    looks = [[microseconds(one, with_body(one, face, body), seconds / _ROUNDS) for one in both] for _ in range(_ROUNDS)]
    floor, trivet = map(min, zip(*looks, strict=True))
    return {"floor us": floor, "trivet us": trivet, "ratio": trivet / floor}
