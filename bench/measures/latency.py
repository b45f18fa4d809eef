"""What a target adds to the time of one request where there is no other: against the upstream itself, asked in between."""

import time
from dataclasses import dataclass
from statistics import median, quantiles

import uvloop

from bench.load.client import Connection, connected
from bench.site import Running
from bench.targets.floor import Floor
from bench.targets.target import Face, Request
from bench.upstream.scripts import PLAIN, Script

_FIRST = b" word0"
_STREAM = Script("burst", 3)
_WARM = 30
_MOST_SECONDS = 15.0


@dataclass(frozen=True)
class Added:
    """Milliseconds beyond those of a direct call: to a whole answer, and to the first token of a stream."""

    p50_ms: float
    p99_ms: float
    first_token_p50_ms: float
    first_token_p99_ms: float


def added(one: Running, upstream: int, face: Face, requests: int) -> Added:
    """Half the requests whole, half streamed, one at a time; fewer of a target that is so slow that it would take too long."""
    return uvloop.run(_added(one, upstream, face, requests // 2))


async def _added(one: Running, upstream: int, face: Face, requests: int) -> Added:
    async with connected(upstream) as direct, connected(one.port) as through:
        whole = await _in_turn(direct, through, [_asked(one, face, PLAIN)] * requests)
        first = await _in_turn(direct, through, [_asked(one, face, _STREAM)] * requests, first=True)
    return Added(*_beyond(*whole), *_beyond(*first))


def _asked(one: Running, face: Face, script: Script) -> tuple[Request, Request]:
    return Floor().request(face, script), one.target.request(face, script)


async def _in_turn(
    direct: Connection, through: Connection, asked: list[tuple[Request, Request]], *, first: bool = False
) -> tuple[list[float], list[float]]:
    took: tuple[list[float], list[float]] = ([], [])
    began = time.monotonic()
    for number, pair in enumerate(asked[:_WARM] + asked):
        if time.monotonic() - began > _MOST_SECONDS and number > _WARM + 2:
            break
        for connection, request, times in zip((direct, through), pair, took, strict=True):
            answer = await connection.ask(request)
            if number >= _WARM:
                times.append((answer.first_with(_FIRST) if first else answer.ended) * 1e3)
    return took


def _beyond(direct: list[float], through: list[float]) -> tuple[float, float]:
    """How much later the median is, and the 99th of a hundred."""
    return median(through) - median(direct), quantiles(through, n=100)[98] - quantiles(direct, n=100)[98]
