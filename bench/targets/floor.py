"""The floor: what a request costs when nothing is done with it but to pass its bytes on."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from bench.processes import Program
from bench.targets.target import Face, Site, Target


class Floor(Target):
    """`bench/proxy.py`, about thirty lines of aiohttp."""

    name = "floor"
    language = "Python"
    faces: ClassVar[tuple[Face, ...]] = ("chat", "responses", "messages")
    python = True

    def version(self, peers: Path) -> str:
        del peers
        return f"aiohttp {version('aiohttp')}"

    def programs(self, site: Site) -> Sequence[Program]:
        return [Program([sys.executable, "-m", "bench.proxy", str(site.port), site.upstream])]
