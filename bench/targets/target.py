"""What the benchmark knows of a gateway."""

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.processes import Program
from bench.upstream.scripts import Script

Face = Literal["chat", "responses", "messages", "agent"]
"""What the caller speaks. `agent` is an API of Trivet alone; the other gateways run agents behind `responses`."""

PATHS: Mapping[Face, str] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "agent": "/v1/agent/responses",
}
KEY = "sk-bench"
MCP_NAME = "bench"


@dataclass(frozen=True)
class Site:
    """Where a target runs: what it may call, the port to listen on, a folder of its own, and where peers are installed."""

    upstream: str
    mcp: str
    port: int
    folder: Path
    peers: Path


@dataclass(frozen=True)
class Request:
    """A POST that asks a target for something."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Target(ABC):
    """A gateway, or what stands for one."""

    name: ClassVar[str]
    language: ClassVar[str]
    faces: ClassVar[tuple[Face, ...]]
    agents: ClassVar[tuple[Face, ...]] = ()
    """The faces behind which it runs agents with MCP tools."""
    install: ClassVar[str] = ""
    """How to install it; `$PEERS` is the folder of the peers."""
    model: ClassVar[str] = "m"
    """The name under which it has the model of the upstream."""
    prefix: ClassVar[str] = ""
    """What its paths begin with."""
    python: ClassVar[bool] = False
    """Whether it tells what imports take when PYTHONPROFILEIMPORTTIME asks it to."""

    @abstractmethod
    def version(self, peers: Path) -> str:
        """Which version is installed; "" for none."""

    @abstractmethod
    def programs(self, site: Site) -> Sequence[Program]:
        """What to start, in this order."""

    def port(self, site: Site) -> int:
        """Where it answers: on the port of the site, unless it chooses one of its own; 0 until that is known."""
        return site.port

    def request(self, face: Face, script: Script) -> Request:
        """How the target is asked to do what the script says."""
        body: dict[str, Any] = {"model": self.model_for(face)}
        if face == "responses":
            body |= {"input": script.prompt(), "store": False}
        else:
            body |= {"messages": [{"role": "user", "content": script.prompt()}]}
        if face == "messages":
            body["max_tokens"] = 1024
        if script.streamed and face != "agent":
            body["stream"] = True
        if script.kind == "agent":
            body |= self.tools(face)
        return Request(self.prefix + PATHS[face], self.headers(face), json.dumps(body).encode())

    def model_for(self, face: Face) -> str:
        """The name of the model behind a face."""
        del face
        return self.model

    def headers(self, face: Face) -> dict[str, str]:
        """What is sent beside the body."""
        del face
        return {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}

    def tools(self, face: Face) -> dict[str, Any]:
        """What names the registered MCP server in a request."""
        del face
        return {"tools": [{"type": "mcp", "server_label": MCP_NAME, "require_approval": "never"}]}


def version_of_package(environment: Path, package: str) -> str:
    """The version of a Python package in a virtual environment; "" where it is not."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    try:
        told = subprocess.run([environment / "bin/python", "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return told.stdout.strip()
