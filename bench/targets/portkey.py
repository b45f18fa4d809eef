"""Portkey's gateway."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.processes import Program
from bench.targets.target import Face, Site, Target

_PACKAGE = "portkey/node_modules/@portkey-ai/gateway"


class Portkey(Target):
    """On Node; each request says where it goes."""

    name = "portkey"
    language = "Node"
    faces: ClassVar[tuple[Face, ...]] = ("chat", "responses")
    # With a newer @hono/node-server, which it allows, it answers every stream with 500.
    install = (
        'mkdir -p $PEERS/portkey && echo \'{"overrides": {"@hono/node-server": "1.13.8"}}\' > $PEERS/portkey/package.json'
        " && npm install --prefix $PEERS/portkey @portkey-ai/gateway"
    )

    def __init__(self) -> None:
        self._upstream = ""

    def version(self, peers: Path) -> str:
        package = peers / _PACKAGE / "package.json"
        return str(json.loads(package.read_text(encoding="utf-8"))["version"]) if package.exists() else ""

    def programs(self, site: Site) -> Sequence[Program]:
        self._upstream = f"{site.upstream}/v1"
        server = str(site.peers / _PACKAGE / "build/start-server.js")
        return [Program(["node", server, "--headless", f"--port={site.port}"], {"NODE_ENV": "production"}, site.folder)]

    def headers(self, face: Face) -> dict[str, str]:
        return {
            **super().headers(face),
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": self._upstream,
        }
