"""SMG (Shepherd Model Gateway), which passes chat on, and responses on to an upstream that has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.processes import Program, free_port
from bench.targets.peer import written
from bench.targets.target import MCP_NAME, Face, Site, Target, version_of_package


class Smg(Target):
    """In front of an external provider, in memory."""

    name = "smg"
    language = "Rust"
    faces: ClassVar[tuple[Face, ...]] = ("chat", "responses")
    agents: ClassVar[tuple[Face, ...]] = ("responses",)
    install = "python -m venv $PEERS/smg && $PEERS/smg/bin/pip install smg"

    def version(self, peers: Path) -> str:
        return version_of_package(peers / "smg", "smg")

    def programs(self, site: Site) -> Sequence[Program]:
        config = {"servers": [{"name": MCP_NAME, "protocol": "streamable", "url": site.mcp, "required": True}]}
        command = [str(site.peers / "smg/bin/smg"), "launch", "--host", "127.0.0.1", "--port", str(site.port)]
        command += ["--backend", "openai", "--worker-urls", site.upstream, "--prometheus-port", str(free_port())]
        return [Program([*command, "--mcp-config-path", written(site.folder / "mcp.yaml", config)], folder=site.folder)]
