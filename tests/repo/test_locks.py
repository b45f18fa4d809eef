"""The lock files are complete, hashed, of no particular index, and agree with what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lock: str) -> dict[str, set[str]]:
    """The versions of each package; more than one where platforms or Pythons differ."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / lock).read_text(encoding="utf-8"), re.MULTILINE
    ):
        found.setdefault(name, set()).add(version)
    return found


def asked_for(lock: str) -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"]
    runtime = [*PROJECT["project"]["dependencies"], *extras["local"], *extras["tokens"]]
    groups = PROJECT["dependency-groups"]
    development = [line for line in groups["dev"] if isinstance(line, str)]
    wanted = {"runtime.txt": runtime, "build.txt": groups["build"], "dev.txt": runtime + groups["build"] + development}
    return [Requirement(line) for line in wanted[lock]]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_line_is_a_pin_or_its_hash(lock: Path) -> None:
    """So no line names an index, a URL or a folder of one machine."""
    pin = re.compile(r"[a-z0-9-]+==[A-Za-z0-9.!+]+( ; [^;]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")

    assert [
        line for line in lock.read_text(encoding="utf-8").splitlines() if not (pin.fullmatch(line) or digest.fullmatch(line))
    ] == []


@pytest.mark.parametrize("lock", ["runtime.txt", "build.txt", "dev.txt"])
def test_a_lock_has_what_the_project_asks_for(lock: str) -> None:
    pinned = pins(lock)

    for wanted in asked_for(lock):
        name = re.sub(r"[._]+", "-", wanted.name).lower()
        assert name in pinned
        assert all(wanted.specifier.contains(version) for version in pinned[name]), (name, pinned[name])


@pytest.mark.parametrize("lock", ["runtime.txt", "build.txt"])
def test_what_runs_is_what_was_tested(lock: str) -> None:
    tested = pins("dev.txt")

    assert {name: version for name, version in pins(lock).items() if tested.get(name) != version} == {}


def test_the_floor_of_grpcio_is_the_generators_version() -> None:
    """Generated code refuses to run with an older grpcio than it was made with."""
    floors = {
        requirement.name: str(requirement.specifier).removeprefix(">=")
        for requirement in map(Requirement, PROJECT["project"]["dependencies"])
        if requirement.name.startswith("grpcio")
    }
    stubs = list((ROOT / "gen/python").rglob("*_pb2_grpc.py"))

    assert stubs
    assert pins("dev.txt")["grpcio-tools"] == {floors["grpcio"]}
    assert set(floors.values()) == {floors["grpcio"]}
    for stub in stubs:
        assert f"GRPC_GENERATED_VERSION = '{floors['grpcio']}'" in stub.read_text(encoding="utf-8")
