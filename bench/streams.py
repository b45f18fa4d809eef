"""Many paced streams at once, each of whose chunks is checked: none lost, none out of order, none of another stream.

    python -m bench.streams [--streams 2000] [--seconds 60] [--pause-ms 500] [--target trivet] [--face chat]

Prints what the chunks took of the processor, how late they were, and what the target had in memory. It fails if a chunk is wrong.
"""

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles

import uvloop

from bench import machine
from bench.load.client import connect
from bench.processes import Ended
from bench.site import Running, answering, neighbours
from bench.targets.field import FIELD
from bench.targets.target import Face
from bench.upstream.scripts import Script

# A delta of either dialect; a gateway may have merged several that were ready.
_DELTA = re.compile(rb'"(?:content|delta)":"((?: s\d+\.\d+)+)"')


@dataclass
class Stream:
    """What came of one stream so far."""

    tag: str
    pause: float
    came: int = 0
    first: float = 0.0
    wrong: str = ""
    late: list[float] = field(default_factory=list)
    _rest: bytes = b""

    def take(self, data: bytes) -> None:
        """Check what came."""
        events, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        for texts in _DELTA.findall(events):
            for text in texts.split():
                self._take(text.decode())

    def _take(self, text: str) -> None:
        now = time.perf_counter()
        if not self.came:
            self.first = now
        if text != f"{self.tag}.{self.came}" and not self.wrong:
            self.wrong = f"{text} came where {self.tag}.{self.came} was due"
        self.late.append(now - self.first - self.came * self.pause)
        self.came += 1


@dataclass(frozen=True)
class Seen:
    """All streams of one run."""

    streams: int
    chunks: int
    microseconds: float
    late_p50_ms: float
    late_p99_ms: float
    memory_bytes: int
    wrong: Sequence[str]


def paced(one: Running, face: Face, *, streams: int, pause_ms: int, seconds: float) -> Seen:
    """So many streams at once, each of the same length."""
    return uvloop.run(_paced(one, face, streams, max(2, round(seconds * 1000 / pause_ms)), pause_ms))


async def _paced(one: Running, face: Face, streams: int, size: int, pause_ms: int) -> Seen:
    all_of_them = [Stream(f"s{number}", pause_ms / 1000) for number in range(streams)]
    cpu = one.cpu_seconds()
    asking = asyncio.gather(
        *(
            # Spread over one pause: that all of them speak at the same moment is no load that anybody has.
            _follow(one, face, stream, Script("tagged", size, pause_ms, stream.tag), number / streams * stream.pause)
            for number, stream in enumerate(all_of_them)
        )
    )
    await asyncio.sleep(size * pause_ms / 2000)
    memory = one.memory_bytes()
    await asking
    cpu = one.cpu_seconds() - cpu
    wrong = [stream.wrong or f"{stream.came} of {size} chunks came of {stream.tag}" for stream in all_of_them]
    late = [value * 1e3 for stream in all_of_them for value in stream.late] or [0.0, 0.0]
    percents = quantiles(late, n=100)
    chunks = sum(stream.came for stream in all_of_them)
    return Seen(
        streams=streams,
        chunks=chunks,
        microseconds=cpu / max(chunks, 1) * 1e6,
        late_p50_ms=percents[49],
        late_p99_ms=percents[98],
        memory_bytes=memory,
        wrong=[text for text, stream in zip(wrong, all_of_them, strict=True) if stream.wrong or stream.came != size],
    )


async def _follow(one: Running, face: Face, stream: Stream, script: Script, after: float) -> None:
    await asyncio.sleep(after)
    connection = await connect(one.port)
    try:
        patience = 60 + 2 * script.size * stream.pause
        await connection.ask(one.target.request(face, script), stream.take, patience=patience)
    except (OSError, RuntimeError, TimeoutError) as error:
        stream.wrong = stream.wrong or f"{stream.tag}: {error!r}"
    finally:
        connection.close()


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause-ms", type=int, default=500)
    parser.add_argument("--target", choices=[target.name for target in FIELD], default="trivet")
    parser.add_argument("--face", choices=("chat", "responses"), default="chat")
    arguments = parser.parse_args(argv)
    machine.allow_many_files()
    target = next(target for target in FIELD if target.name == arguments.target)
    try:
        with neighbours() as around, answering(target, around.site(target.name)) as one:
            seen = paced(one, arguments.face, streams=arguments.streams, pause_ms=arguments.pause_ms, seconds=arguments.seconds)
    except Ended as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{target.name}: {seen.streams} streams, {seen.chunks} chunks, {len(seen.wrong)} streams wrong; {seen.microseconds:.0f} us of CPU "
        f"per chunk; late p50 {seen.late_p50_ms:.1f} ms, p99 {seen.late_p99_ms:.1f} ms; {seen.memory_bytes / 1e6:.0f} MB"
    )
    for text in seen.wrong[:10]:
        print(f"  {text}")
    return 1 if seen.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
