"""Runs the services of docker-compose.yml as plain processes: its own commands, environment and health checks."""

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.standalone.running import Running, program

ROOT = Path(__file__).parents[2]
KEY = "sk-compose-test"


def compose_file(**given: str) -> dict[str, Any]:
    """The compose file, its variables filled in: with what is given, or their defaults."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    given = {"TRIVET_KEY": KEY, **given}
    return dict(yaml.safe_load(re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda found: given.get(found[1], found[2]), text)))


def services(**given: str) -> dict[str, Any]:
    """The services of the compose file that no profile has to be asked for."""
    return {name: service for name, service in compose_file(**given)["services"].items() if "profiles" not in service}


def in_order(composed: dict[str, Any]) -> list[str]:
    """The names of the services, each after those among them that it depends on."""
    names: list[str] = []

    def add(name: str) -> None:
        for needed in composed[name].get("depends_on", {}):
            if needed in composed:
                add(needed)
        if name not in names:
            names.append(name)

    for name in composed:
        add(name)
    return names


class Composed:
    """The running services. Each listens on loopback, on a free port in the place of the one in its container.

    What they keep is in the folder `data`, in the place of their volume.
    """

    def __init__(self, data: str, config: Path = ROOT / "deploy/trivet.yaml") -> None:
        self.data = Path(data)
        self.composed = services(TRIVET_STORE_URL=f"sqlite:///{data}/trivet.db")
        self.config = config
        self._addresses = {name: f"127.0.0.1:{port}" for name, port in zip(self.composed, _free_ports(), strict=False)}
        self.processes: dict[str, Running] = {}

    @property
    def url(self) -> str:
        """Where the bridge answers."""
        return f"http://{self._addresses['bridge']}"

    def address(self, name: str) -> str:
        """Where a service answers."""
        return self._addresses[name]

    def start(self, *names: str) -> None:
        """Start the commands of services, all at once, and wait until they say that they serve."""
        for name in names:
            self.processes[name] = Running(self.composed[name]["command"], self._environment(name), ROOT)
        for name in names:
            self.processes[name].read_until("is serving")

    def is_healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        kind, *check = self.composed[name]["healthcheck"]["test"]
        assert kind == "CMD"
        run = subprocess.run(program(check), env=self._environment(name), cwd=ROOT, check=False, timeout=60)
        return run.returncode == 0

    def stop(self, name: str) -> int:
        """End a service as `docker compose stop` does; its exit code."""
        return self.processes.pop(name).stop()

    def _environment(self, name: str) -> dict[str, str]:
        written = {key: str(value) for key, value in self.composed[name]["environment"].items()}
        moved = {key: self._moved(name, value) for key, value in written.items()}
        return {**os.environ, **moved, "TRIVET_CONFIG": str(self.config)}

    def _moved(self, name: str, value: str) -> str:
        """An address in the network of the containers as one on this machine; anything else as it stands."""
        host, _, port = value.rpartition(":")
        if host == "0.0.0.0" and (name == "bridge") == (port == "8080"):
            return self._addresses[name]
        return self._addresses.get(host, value)


@contextmanager
def composed(config: Path = ROOT / "deploy/trivet.yaml") -> Iterator[Composed]:
    """All services, running."""
    with tempfile.TemporaryDirectory() as data:
        everything = Composed(data, config)
        try:
            # Not one after the other, as compose starts them: they find each other in any order, and this is faster.
            everything.start(*everything.composed)
            yield everything
        finally:
            for process in everything.processes.values():
                process.terminate()
            for process in everything.processes.values():
                process.wait()


def _free_ports() -> Iterator[int]:
    with ExitStack() as stack:
        while True:
            probe = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            yield probe.getsockname()[1]
