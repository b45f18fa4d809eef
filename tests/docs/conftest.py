"""The gateway that the examples of the documents talk to, and the shell that they run in."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.docs.model import model_server
from tests.docs.pages import ROOT
from tests.standalone.running import Running

KEY = "sk-trivet-of-the-documents"
STAND_INS = Path(__file__).parent / "stand_ins"
SECONDS = 120


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the documents: runs what is written there, with the real addresses and key in place."""

    environment: dict[str, str]
    replaced: dict[str, str]

    def text_of(self, example: str) -> str:
        """The example as this reader types it."""
        for written, real in self.replaced.items():
            example = example.replace(written, real)
        return example

    def run(self, *command: str) -> str:
        """What the command prints; it must succeed."""
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, example: str) -> str:
        """What the shell prints for an example."""
        return self.run("bash", "-euo", "pipefail", "-c", self.text_of(example))

    def python(self, example: str) -> str:
        """What Python prints for an example."""
        return self.run(sys.executable, "-c", self.text_of(example))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with the programs of the environment first on PATH, and stand-ins last for those that are not installed."""
    folder = tmp_path_factory.mktemp("stand_ins")
    for stand_in in STAND_INS.glob("*.py"):
        if shutil.which(stand_in.stem) is None:
            program = folder / stand_in.stem
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "$@"\n', encoding="utf-8")
            program.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRIVET_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"], str(folder)])
    return clean | {"PATH": path, "TRIVET_KEY": KEY}


@pytest.fixture(scope="session")
def reader(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader in front of a gateway as `make run` leaves it, but for the model: it plays a part, and is fast."""
    folder = tmp_path_factory.mktemp("gateway")
    with model_server() as base_url:
        config = {
            "server": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"},
            "auth": {"keys": [{"name": "reader", "key": KEY}]},
            "providers": [{"name": name, "type": "openai-chat", "base_url": base_url} for name in ("local", "lab")],
            "mcp_servers": [{"name": "clock", "command": ["mcp-server-time", "--local-timezone", "UTC"]}],
        }
        (folder / "trivet.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        with Running(["trivet", "serve", "--log-level", "warning"], environment, folder) as gateway:
            said = "\n".join(gateway.read_until("gRPC  "))
            http, grpc = re.findall(r"(?:REST  http://|gRPC  )([^/\s]+)", said)
            yield Reader(
                environment | {"TRIVET_URL": f"http://{http}"},
                {"127.0.0.1:8080": http, "127.0.0.1:50051": grpc, "sk-trivet-...": KEY},
            )
