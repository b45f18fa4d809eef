"""What the README tells to run is run, and does what it says."""

import os
import re
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from tests.docs.conftest import KEY, SECONDS, Reader
from tests.docs.pages import ROOT, Fence, fences
from trivet.model_service.settings import ProviderSettings
from trivet.standalone.config import load_config

TYPES = get_args(ProviderSettings.model_fields["type"].annotation)
README = ROOT / "README.md"
EXAMPLES = fences(README)
TOKYO = r"Asia/Tokyo"

SHOWN = {
    "v1/agent/responses": [r'"role":"tool"', TOKYO, r'"stopped_by":"model"', r"data: \[DONE\]\n\n$"],
    "50051 list": [r"^trivet\.agent\.v1\.AgentService$", r"^grpc\.health\.v1\.Health$"],
    "AgentService/StreamAgentResponse": [r'"toolCallId": "call_1"', TOKYO, r'"stoppedBy": "model"'],
    "AgentServiceStub": [TOKYO, r"The tool says: "],
    'extra_body={"mcp_servers"': [TOKYO, r"The tool says: "],
    "started.response.id": [
        r"^1 response\.queued\n2 response\.in_progress$",
        r"^\d+ response\.mcp_call\.completed$",
        r"^\d+ response\.completed\nThe tool says: ",
        TOKYO,
        r"^Hello\.\n$",
    ],
    "ModelService/FollowResponse": [
        r"^event: response\.in_progress\ndata: .*\"sequence_number\":2,",
        r"^event: response\.mcp_call\.completed$",
        r"^event: response\.completed\n(.*\n)+data: \[DONE\]\n\n\{",
        r"\"sequenceNumber\": \"?2\"?,?\n",
        r"The tool says: .*\"\n",
    ],
    "client.embeddings": [r"^2 vectors of 3$"],
    "client.responses.stream": [r"^Hello\.\nHello\.completed\nHello\.\n$"],
    "check-config --config examples": [r"^examples/trivet.yaml: good$", r"everything: at http://127\.0\.0\.1:18201$"],
    "trivet ask": [
        r"^-> clock > get_current_time",
        r"^<- clock > get_current_time .*Asia/Tokyo",
        r"^\[2 model calls, 30 tokens\]$",
    ],
    "trivet models": [r"^local/smollm2$", r"^clock \(stdio\)$", r"^  get_current_time "],
    "export TRIVET_URL": [r"^$"],
}
"""What is in an example -> what it shows."""

APART = ("make run", "trivet serve bridge")
"""What is in the examples that go on running, which have tests of their own."""


def example(mark: str) -> Fence:
    """The one example with `mark` in it."""
    (found,) = [fence for fence in EXAMPLES if mark in fence.text and fence.language in {"sh", "python"}]
    return found


@pytest.mark.parametrize("mark", SHOWN)
def test_an_example_shows_what_it_says(mark: str, reader: Reader) -> None:
    fence = example(mark)

    shown = reader.python(fence.text) if fence.language == "python" else reader.shell(fence.text)

    for pattern in SHOWN[mark]:
        assert re.search(pattern, shown, re.MULTILINE), shown


def test_every_example_is_run() -> None:
    run = [example(mark) for mark in (*SHOWN, *APART)]

    assert [fence for fence in EXAMPLES if fence not in run and fence.language not in {"yaml", "text"}] == []
    assert len(run) == len(set(run))


def test_the_first_command_is_one_of_the_makefile(reader: Reader) -> None:
    clone, command = example("make run").text.splitlines()

    assert clone.startswith("git clone ")
    assert "trivet demo" in reader.run(*command.split(), "--dry-run")


def test_what_the_gateway_says_of_itself_is_what_is_shown(reader: Reader) -> None:
    (shown,) = [fence.text for fence in EXAMPLES if fence.language == "text"]

    asked = reader.shell(shown.splitlines()[0].removeprefix("$ "))

    assert [line[:25] for line in asked.splitlines()[:2]] == [line[:25] for line in shown.splitlines()[1:3]]
    announced = re.search(r"Trivet [0-9.]+ is serving\n  REST  (\S+) and /api/llm, described at \S+\n  gRPC  \S+\n  key  ", shown)
    assert announced
    assert announced[1] == "http://127.0.0.1:8080/v1"


def test_the_example_of_a_configuration_is_the_file_and_is_good() -> None:
    *_, shown = [fence.text for fence in EXAMPLES if fence.language == "yaml"]
    file = ROOT / "examples/trivet.yaml"

    assert shown == file.read_text(encoding="utf-8")
    assert load_config(file, {"TRIVET_KEY": KEY}).providers[0].name == "lab"
    assert load_config(ROOT / "deploy/trivet.yaml", {"TRIVET_KEY": KEY}).services.model == "model:50051"


def test_every_other_example_of_a_configuration_is_good(tmp_path: Path) -> None:
    *others, _ = [fence.text for fence in EXAMPLES if fence.language == "yaml"]
    file = tmp_path / "trivet.yaml"

    assert others
    for text in others:
        file.write_text(text, encoding="utf-8")
        config = load_config(file, dict.fromkeys(re.findall(r"\${(\w+)}", text), "key"))
        assert config.models[0].name == "smart"


def test_the_providers_that_are_left_to_the_operator_of_the_image_are_good(tmp_path: Path) -> None:
    text = (ROOT / "deploy/trivet.yaml").read_text(encoding="utf-8")
    offered = re.findall(r"^  #   (- {name: .*})$", text, re.MULTILINE)
    file = tmp_path / "trivet.yaml"
    file.write_text("providers:\n" + "".join(f"  {one}\n" for one in offered), encoding="utf-8")

    config = load_config(file, dict.fromkeys(re.findall(r"\${(\w+)}", text), "key"))

    assert {provider.type for provider in config.providers} == set(TYPES) - {"local"}


def test_the_four_processes_serve_as_one(environment: dict[str, str], tmp_path: Path) -> None:
    ports = dict(zip(("8080", "50061", "50062", "50063"), _free_ports(4), strict=True))
    addresses = {f"127.0.0.1:{written}": f"127.0.0.1:{port}" for written, port in ports.items()}
    reader = Reader(environment, addresses | {"/tmp/trivet": str(tmp_path)})
    script = reader.text_of(example("trivet serve bridge").text)
    process = subprocess.Popen(
        ["bash", "-euc", script], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )

    def end() -> None:
        os.killpg(process.pid, signal.SIGTERM)

    with ExitStack() as stack:
        # Its end is the end of all that write into it: no process is left behind.
        stack.callback(process.communicate, timeout=SECONDS)
        stack.callback(end)
        watchdog = threading.Timer(SECONDS, end)
        watchdog.start()
        stack.callback(watchdog.cancel)
        assert process.stdout is not None
        serving = 0
        while serving < 4:
            line = process.stdout.readline()
            assert line, "it ended"
            serving += "is serving" in line

        asking = replace(reader, environment=environment | {"TRIVET_URL": f"http://127.0.0.1:{ports['8080']}"})
        assert "get_current_time" in asking.run("trivet", "tools")
        assert (tmp_path / "trivet.db").exists()


def test_every_command_of_the_command_line_is_in_the_table(reader: Reader) -> None:
    commands = re.findall(r"^    ([a-z][a-z-]+)", reader.run("trivet", "--help").partition("COMMAND\n")[2], re.MULTILINE)

    assert len(commands) == 8
    text = README.read_text(encoding="utf-8")
    assert [command for command in commands if f"| `trivet {command}" not in text] == []


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(listening.getsockname()[1]) for listening in sockets]
