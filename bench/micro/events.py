"""The parser of an upstream's events, by how they arrive."""

import pyperf

from bench.micro.timing import bench
from bench.upstream import dialects
from trivet.model_service.adapters.sse import SseParser

EVENTS = 200
_LIMIT = 1 << 20
_CHUNKS = dialects.Chat.stream(dialects.words(EVENTS)).chunks


def add_to(runner: pyperf.Runner) -> None:
    """Add the benchmarks; all are per event."""
    whole = b"".join(_CHUNKS)
    crumbs = [whole[at : at + 100] for at in range(0, len(whole), 100)]
    bench(runner, "events: one a read", _parsed, _CHUNKS, each=EVENTS)
    bench(runner, "events: all in one read", _parsed, [whole], each=EVENTS)
    bench(runner, "events: in crumbs of 100 bytes", _parsed, crumbs, each=EVENTS)


def _parsed(reads: list[bytes]) -> None:
    parser = SseParser(_LIMIT)
    for data in reads:
        parser.feed(data)
