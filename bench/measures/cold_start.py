"""How long a target takes from the start of its processes to the first answer."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bench.load import ask
from bench.site import Neighbours, Running, started
from bench.targets.target import Target
from bench.upstream.scripts import PLAIN

_IMPORT = re.compile(r"^import time:\s+(\d+) \|", re.MULTILINE)


@dataclass(frozen=True)
class ColdStart:
    """Seconds until the first answer with status 200, and of CPU until then; files are in the system's cache."""

    seconds: float
    cpu_seconds: float


@contextlib.contextmanager
def started_cold(target: Target, around: Neighbours) -> Iterator[tuple[Running, ColdStart]]:
    """A target that has just answered for the first time, and what that took."""
    with started(target, around.site(target.name)) as one:
        seconds = ask.until_answered(lambda: one.port, target.request(target.faces[0], PLAIN))
        yield one, ColdStart(seconds, one.cpu_seconds())


def import_seconds(target: Target, around: Neighbours) -> float | None:
    """What Python's imports took in one more start, all processes together; None for other languages."""
    if not target.python:
        return None
    site = around.site(target.name)
    with started(target, site, PYTHONPROFILEIMPORTTIME="1") as one:
        ask.until_answered(lambda: one.port, target.request(target.faces[0], PLAIN))
    said = [log.read_text(encoding="utf-8", errors="replace") for log in site.folder.glob("*.log")]
    return sum(int(microseconds) for text in said for microseconds in _IMPORT.findall(text)) / 1e6
