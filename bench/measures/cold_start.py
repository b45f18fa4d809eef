"""How long a target takes from the start of its processes to the first answer."""

import re
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


def cold_start(one: Running) -> ColdStart:
    """What it took this target to answer for the first time."""
    return ColdStart(one.start_seconds, one.start_cpu_seconds)


def import_seconds(target: Target, around: Neighbours) -> float | None:
    """What Python's imports took in one more start, all processes together; None for other languages."""
    if not target.python:
        return None
    site = around.site(target.name)
    with started(target, site, PYTHONPROFILEIMPORTTIME="1") as one:
        ask.until_answered(lambda: one.port, target.request(target.faces[0], PLAIN))
    said = [log.read_text(encoding="utf-8", errors="replace") for log in site.folder.glob("*.log")]
    return sum(int(microseconds) for text in said for microseconds in _IMPORT.findall(text)) / 1e6
