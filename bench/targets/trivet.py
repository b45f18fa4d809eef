"""Trivet, with keys, a store and its log as anybody would have them; in one process and in four."""

import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from bench.processes import Program
from bench.targets.target import KEY, MCP_NAME, Face, Site, Target

SERVICES = ("model", "tool", "agent")


def configuration(site: Site, **sections: Any) -> dict[str, Any]:
    """A configuration with one key, a provider of chat and one of messages, one MCP server and a new store."""
    return {
        "server": {"http": f"127.0.0.1:{site.port}", "grpc": "127.0.0.1:0"},
        "auth": {"keys": [{"name": "bench", "key": KEY}]},
        "providers": [
            {"name": "bench", "type": "openai-chat", "base_url": f"{site.upstream}/v1", "api_key": "none"},
            {"name": "claude", "type": "anthropic", "base_url": f"{site.upstream}/v1", "api_key": "none"},
        ],
        "mcp_servers": [{"name": MCP_NAME, "url": site.mcp}],
        "store": {"url": f"sqlite:///{site.folder / 'trivet.db'}"},
        **sections,
    }


class OneProcess(Target):
    """`trivet serve`."""

    name = "trivet"
    language = "Python"
    faces: ClassVar[tuple[Face, ...]] = ("chat", "responses", "messages")
    agents: ClassVar[tuple[Face, ...]] = ("agent", "responses")
    model = "bench/m"
    python = True

    def __init__(self, program: str = "", **sections: Any) -> None:
        """Of the environment that runs the benchmark, or another `program`; `sections` take the place of the configuration's."""
        self._program = program or os.environ.get("TRIVET_BENCH_PROGRAM") or str(Path(sys.executable).with_name("trivet"))
        self._sections = sections

    def version(self, peers: Path) -> str:
        del peers
        return version("trivet")

    def programs(self, site: Site) -> Sequence[Program]:
        return [self._serve(site, "all", configuration(site, **self._sections))]

    def model_for(self, face: Face) -> str:
        # The Messages API passes through, to a provider that has it.
        return "claude/m" if face == "messages" else self.model

    def tools(self, face: Face) -> dict[str, Any]:
        if face == "agent":
            return {"mcp_servers": [{"integration_fqn": MCP_NAME}]}
        return {"tools": [{"type": "mcp", "server_label": MCP_NAME, "connector_id": MCP_NAME, "require_approval": "never"}]}

    def _serve(self, site: Site, part: str, config: dict[str, Any]) -> Program:
        file = site.folder / f"{part}.yaml"
        file.write_text(json.dumps(config), encoding="utf-8")
        return Program([self._program, "serve", part, "--config", str(file)])


class Merged(OneProcess):
    """With `merge_text`: texts that come in the same moment go on as one."""

    name = "trivet-merged"
    agents: ClassVar[tuple[Face, ...]] = ()

    def programs(self, site: Site) -> Sequence[Program]:
        config = configuration(site)
        config["providers"][0]["merge_text"] = True
        return [self._serve(site, "all", config)]


class Unrecorded(OneProcess):
    """Without a record of each call's usage."""

    name = "trivet-unrecorded"
    agents: ClassVar[tuple[Face, ...]] = ()

    def programs(self, site: Site) -> Sequence[Program]:
        return [self._serve(site, "all", configuration(site, usage={"record": False}))]


class FourProcesses(OneProcess):
    """`trivet serve model`, `tool`, `agent` and `bridge`, with gRPC over Unix sockets between them, as it is on one machine."""

    name = "trivet-4"

    def programs(self, site: Site) -> Sequence[Program]:
        listening = {service: f"unix:{site.folder / service}.sock" for service in SERVICES}
        here = configuration(site, services=listening, **self._sections)
        parts = {**listening, "bridge": "127.0.0.1:0"}
        return [
            self._serve(site, part, {**here, "server": {**here["server"], "grpc": address}}) for part, address in parts.items()
        ]
