"""Ferro Labs' gateway."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.processes import Program
from bench.targets.peer import written
from bench.targets.target import KEY, Face, Site, Target, version_of_package


class Ferrogw(Target):
    """Its agents run behind every chat request, if it has MCP servers, and do not stream: they are not measured."""

    name = "ferrogw"
    language = "Go"
    faces: ClassVar[tuple[Face, ...]] = ("chat", "responses")
    install = "python -m venv $PEERS/ferrogw && $PEERS/ferrogw/bin/pip install ferrogw"
    model = "gpt-4o-mini"

    def version(self, peers: Path) -> str:
        return version_of_package(peers / "ferrogw", "ferrogw")

    def programs(self, site: Site) -> Sequence[Program]:
        config = {"strategy": {"mode": "single"}, "targets": [{"virtual_key": "openai"}]}
        environment = {
            "PORT": str(site.port),
            "GATEWAY_CONFIG": written(site.folder / "config.yaml", config),
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": f"{site.upstream}",
            "MASTER_KEY": KEY,
            # It limits each address by default, and all requests are from one.
            "RATE_LIMIT_RPS": "1000000",
            "RATE_LIMIT_BURST": "1000000",
        }
        return [Program([str(site.peers / "ferrogw/bin/ferrogw"), "serve"], environment, site.folder)]
