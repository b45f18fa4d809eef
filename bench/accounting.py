"""What processes took, as Linux accounts for it: CPU time to the nanosecond, and memory."""

import contextlib
import re
import time
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


def with_children(roots: Iterable[int]) -> set[int]:
    """The processes and all that they started, directly or not, that run now."""
    children: dict[int, list[int]] = {}
    for stat in _PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        found.add(one)
        waiting += children.get(one, [])
    return found


def cpu_seconds(processes: Iterable[int]) -> float:
    """The CPU time of these processes so far: of all their threads, also of those that have ended."""
    return sum(map(_cpu_nanoseconds, processes)) / 1e9


def _cpu_nanoseconds(process: int) -> int:
    # Every process has a clock of its CPU time, whose number is made of its id (see clock_getcpuclockid). It is the scheduler's
    # own sum; /proc/PID/stat has the same in hundredths of a second, and /proc/PID/schedstat for one thread only.
    try:
        return time.clock_gettime_ns((~process << 3) | 2)
    except OSError:
        return 0


def memory_bytes(processes: Iterable[int]) -> int:
    """The memory of these processes: what is shared among several counts once (PSS); where that is not told, RSS."""
    return sum(_told(process, "smaps_rollup", "Pss") or resident_bytes(process) for process in processes)


def resident_bytes(process: int) -> int:
    """The memory of the process that is resident; cheap enough to be asked all the time."""
    return _told(process, "status", "VmRSS")


def _told(process: int, file: str, line: str) -> int:
    with contextlib.suppress(OSError):
        text = (_PROC / str(process) / file).read_text(encoding="utf-8")
        if found := re.search(rf"^{line}:\s+(\d+) kB", text, re.MULTILINE):
            return int(found[1]) * 1024
    return 0
