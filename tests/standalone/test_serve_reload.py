"""`trivet serve` as a process, whose file is changed and which gets signals."""

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.standalone.running import Running

KEYS = {"ops": "sk-ops-0123456789", "dev": "sk-dev-0123456789"}


class Serving:
    """A gateway in a process of its own, over the file `trivet.yaml` of a folder."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "trivet.yaml"
        self.write("ops")
        self.process = Running(["trivet", "serve", "--config", "trivet.yaml"], os.environ, folder)
        said = "\n".join(self.process.read_until("gRPC "))
        (self.url,) = re.findall(r"REST  (http://[^/]+)/", said)

    def write(self, *keys: str) -> None:
        """Replace the file, as an editor does."""
        told = {
            "server": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"},
            "auth": {"keys": [{"name": name, "key": KEYS[name]} for name in keys]},
            "store": {"url": f"sqlite:///{self.file.parent}/trivet.db"},
        }
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps(told), encoding="utf-8")
        beside.rename(self.file)

    def status(self, key: str) -> int:
        asked = urllib.request.Request(f"{self.url}/v1/models", headers={"Authorization": f"Bearer {KEYS[key]}"})
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def readiness(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/readyz", timeout=30) as answer:
            return dict(json.load(answer))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    serving = Serving(tmp_path)
    with serving.process:
        yield serving


def test_a_file_that_changes_is_followed_and_a_broken_one_is_refused_until_it_is_mended(serving: Serving) -> None:
    told = serving.readiness()["config"]
    assert (told.keys(), told["refused"]) == ({"loaded_at", "refused", "restart_needed"}, None)
    serving.write("dev")
    assert "configuration reloaded: auth.keys (dev added, ops removed)" in serving.process.read_until("reloaded")[-1]
    assert (serving.status("dev"), serving.status("ops")) == (200, 401)

    serving.file.write_text("auth: {", encoding="utf-8")
    said = serving.process.read_until("trivet.yaml:1:")
    assert any("try `trivet check-config --config trivet.yaml`" in line for line in said)
    told = serving.readiness()
    assert (told["status"], told["config"]["refused"]["problems"]) == ("ready", 1)
    assert (serving.status("dev"), serving.status("ops")) == (200, 401)

    serving.write("ops", "dev")
    serving.process.read_until("reloaded")
    assert serving.readiness()["config"]["refused"] is None
    assert (serving.status("dev"), serving.status("ops")) == (200, 200)

    serving.process.hang_up()
    assert serving.process.read_until("reloaded")[-1].endswith("configuration reloaded: nothing has changed")
    assert serving.process.stop() == 0


def test_a_process_that_is_told_to_end_while_it_reads_its_file_again_ends_well(serving: Serving) -> None:
    serving.write("dev")
    for _ in range(20):
        serving.process.hang_up()
    serving.process.terminate()

    assert serving.process.wait() == 0


@pytest.fixture
def hangups_end() -> Iterator[None]:
    """What is started has the default for SIGHUP, though the tests themselves may run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_end")
def test_without_a_file_a_hangup_ends_the_process(tmp_path: Path) -> None:
    free = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIVET_")}
    with Running(["trivet", "serve", *free], environment, tmp_path) as process:
        process.read_until("key   ")
        process.hang_up()

        assert process.wait() == -signal.SIGHUP
