"""Cost against how many streams are open."""

from collections.abc import Iterator
from functools import partial

from bench.scale.curve import Curve, Figures
from bench.scale.looks import floor_and_trivet
from bench.site import Neighbours
from bench.streams import paced
from bench.targets.target import Face

_STREAMS = (1, 10, 100, 500, 1_000, 2_000)
_PAUSE_MS = 500
_LEAST_SECONDS = 5.0


def _measured(face: Face, around: Neighbours, seconds: float) -> Iterator[tuple[int, Figures]]:
    with floor_and_trivet(around) as (floor, trivet):
        for streams in _STREAMS:
            length = max(seconds, _LEAST_SECONDS)
            under = paced(floor, face, streams=streams, pause_ms=_PAUSE_MS, seconds=length)
            over = paced(trivet, face, streams=streams, pause_ms=_PAUSE_MS, seconds=length)
            yield (
                streams,
                {
                    "floor us": under.microseconds,
                    "trivet us": over.microseconds,
                    "ratio": over.microseconds / under.microseconds,
                    "late p50 ms": over.late_p50_ms,
                    "late p99 ms": over.late_p99_ms,
                    "MB": over.memory_bytes / 1e6,
                    "wrong": float(len(over.wrong)),
                },
            )


CURVES = [
    Curve(
        f"streams-{face}",
        "open streams",
        f"CPU of one chunk, a chunk each {_PAUSE_MS} ms, every chunk checked, the streams' beginnings included, {face}",
        partial(_measured, face),
    )
    for face in ("chat", "responses")
]
