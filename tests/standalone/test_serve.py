"""The commands that serve and ask, as a newcomer runs them: no configuration, no key, the real local model and MCP server."""

import json
import os
import re
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standalone.running import Running, program

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("TRIVET_")}
FREE = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]


class Served:
    """A gateway without configuration, and what it says about itself."""

    def __init__(self, said: str) -> None:
        found = re.search(r"REST  (http://[^/]+)/v1.*gRPC  (\S+)\n  key   (\S+)", said, re.DOTALL)
        assert found, said
        self.url, self.grpc, self.key = found.groups()

    def trivet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that asks this gateway."""
        asked = {**CLEAN, "TRIVET_URL": self.url, "TRIVET_KEY": self.key}
        return subprocess.run(
            program(["trivet", *arguments]), env=asked, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Running(["trivet", "serve", *FREE], CLEAN, tmp_path_factory.mktemp("empty")) as process:
        yield Served("\n".join(process.read_until("key   ")))


def test_the_generated_key_opens_and_no_other_does(served: Served) -> None:
    assert served.trivet("models").stdout == "local/smollm2\n"
    refused = served.trivet("models", "--key", "sk-other")
    assert refused.returncode == 1
    assert "401" in refused.stderr


def test_tools_lists_the_clock_and_what_it_can(served: Served) -> None:
    listed = served.trivet("tools")

    assert listed.returncode == 0
    assert listed.stdout.startswith("clock (stdio)\n")
    assert "get_current_time" in listed.stdout


def test_both_faces_are_ready(served: Served) -> None:
    assert served.trivet("health", "grpc", served.grpc).stdout == "ready\n"
    assert served.trivet("health", "http", served.url.removeprefix("http://")).stdout == "ready\n"


def test_ask_says_in_words_what_is_wrong(served: Served) -> None:
    answer = served.trivet("ask", "hello", "--model", "nope/none")

    assert answer.returncode == 1
    assert re.search(r"trivet: .*nope/none.*\(404\)", answer.stderr)
    answer = served.trivet("ask", "hello", "--mcp", "nobody")
    assert answer.returncode == 1
    assert re.search(r"trivet: .*nobody.*\(404\)", answer.stderr)


def test_a_command_without_a_running_gateway_brings_its_own(tmp_path: Path) -> None:
    listed = subprocess.run(
        program(["trivet", "tools"]), env=CLEAN, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )

    assert "get_current_time" in listed.stdout
    assert listed.stderr == ""


def test_serve_ends_with_0_when_it_is_told_to(tmp_path: Path) -> None:
    with Running(["trivet", "serve", *FREE], CLEAN, tmp_path) as process:
        process.read_until("key   ")

        assert process.stop() == 0


def test_the_demonstration_calls_a_real_tool_and_prints_a_curl_line_that_works(tmp_path: Path) -> None:
    with Running(["trivet", "demo"], CLEAN, tmp_path) as process:
        said = process.read_until("Ctrl-C")
        text = "\n".join(said)

        assert "-> clock > get_current_time" in text
        assert "<- clock > get_current_time" in text
        assert "Asia/Tokyo" in text
        stream = curled(text[text.index("curl ") :].partition("\n\n")[0])
        assert '"role":"tool"' in stream
        assert stream.endswith("data: [DONE]\n\n")
        assert process.stop() == 0


def curled(command: str) -> str:
    """The answer to a curl command line, without asking that curl be installed."""
    words = shlex.split(command.replace("\\\n", " "))
    headers = dict(words[index + 1].split(": ", 1) for index, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1]
    json.loads(body)
    url = next(word for word in words if word.startswith("http://"))
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers), timeout=120) as response:
        return str(response.read().decode())
