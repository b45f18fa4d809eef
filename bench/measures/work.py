"""What one request, and one chunk of a stream, takes of the processor."""

import time
from dataclasses import dataclass

from bench.load import ask
from bench.load.wrk import loading
from bench.site import Running
from bench.targets.target import Face
from bench.upstream.scripts import Script

_LEAD_SECONDS = 0.5
"""How long the load runs before anything is counted, so that every connection is open and every stream has begun."""
_LEAST_UNITS = 50
_MOST_SECONDS = 15.0
_STEP_SECONDS = 0.1


@dataclass(frozen=True)
class Cost:
    """One look at a target under load: microseconds of its CPU for a unit, units per second, and wrk's latencies."""

    microseconds: float
    per_second: float
    p50_microseconds: int
    p99_microseconds: int
    failed: int


def cost(one: Running, upstream: int, face: Face, script: Script, *, connections: int, seconds: float) -> Cost:
    """What the target's processes took while the upstream sent so many chunks: per chunk of streams, else per request.

    Counted are the chunks that the upstream sent in a window within the load, so streams that are cut at its end are no matter. The
    window is longer where a target is so slow that little would be seen in it.
    """
    with loading(one.port, one.target.request(face, script), connections=connections) as load:
        time.sleep(_LEAD_SECONDS)
        began, before, spent = time.monotonic(), _sent(upstream), one.cpu_seconds()
        time.sleep(seconds)
        while (units := _sent(upstream) - before) < _LEAST_UNITS and time.monotonic() - began < _MOST_SECONDS:
            time.sleep(_STEP_SECONDS)
        took, spent = time.monotonic() - began, one.cpu_seconds() - spent
        told = load.stopped()
    if not units:
        raise RuntimeError(f"{one.target.name} asked nothing of the upstream: {told}")
    return Cost(spent / units * 1e6, units / took, told.p50, told.p99, told.failed)


def _sent(upstream: int) -> int:
    return int(ask.get(upstream, "/counts").get("chunks", 0))
