"""The command line: what it refuses, and with which exit code. What it serves is tested end to end."""

import os
import socket
from pathlib import Path

import pytest

from trivet.standalone.cli import main

KEY = "sk-very-secret-value"
OK, FAILED, MISUSED = 0, 1, 2


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no file of the machine takes part."""
    for name in ("TRIVET_CONFIG", "TRIVET_URL", "TRIVET_KEY", "TRIVET_LOG_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "some.yaml"
    file.write_text(
        f"auth: {{keys: [{{name: dev, key: {KEY}}}]}}\n"
        f"providers: [{{name: lab, type: openai-chat, base_url: 'http://lab:1/{KEY}/v1', api_key: {KEY}}}]\n"
        "models: [{name: smart, targets: [{model: lab/one}, {model: lab/two, priority: 1}]}]\n"
        f"mcp_servers: [{{name: far, url: 'http://far:2/mcp?token={KEY}'}}, {{name: near, command: [run, {KEY}]}}]\n"
        "services: {agent: 'agent:50051'}\n"
        f"store: {{url: 'postgresql://trivet:{KEY}@db:5432/kept?passfile={KEY}', secret_key: {KEY}}}\n",
        encoding="utf-8",
    )
    return file


def test_check_config_tells_what_the_file_says_and_no_secret(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--config", str(file)]) == OK

    out = capsys.readouterr().out
    assert out.splitlines() == [
        f"{file}: good",
        "  http        127.0.0.1:8080",
        "  grpc        127.0.0.1:50051",
        "  service     agent at agent:50051",
        "  keys        dev",
        "  provider    lab: openai-chat at http://lab:1",
        "  model       smart: by priority lab/one, lab/two",
        "  MCP server  far: at http://far:2",
        "  MCP server  near: the program run",
        "  store       at postgresql://db:5432/kept, kept for 30 days",
        "  security    URLs of requests may not lead to private networks",
    ]


def test_check_config_tells_the_file_of_the_store(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for number, (store, told) in enumerate(
        [
            ("", f"{os.environ['XDG_DATA_HOME']}/trivet/trivet.db, kept for 30 days"),
            ("url: sqlite:////var/kept.db, retention_days: 0.5, secret_key: none", "/var/kept.db, kept for 0.5 days"),
            ("url: sqlite:///kept.db, retention_days: 0", f"{tmp_path}/kept.db, kept for ever"),
        ]
    ):
        file = tmp_path / f"{number}.yaml"
        file.write_text(f"store: {{{store}}}\n", encoding="utf-8")

        assert main(["check-config", "--config", str(file)]) == OK
        assert f"  store       in {told}\n" in capsys.readouterr().out


def test_check_config_tells_that_there_is_no_place_for_a_store(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])

    assert main(["check-config"]) == OK
    assert "  store       none: the user has no home" in capsys.readouterr().out


def test_check_config_tells_every_mistake_and_exits_with_2(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("servr: {}\nproviders: [{}]\n", encoding="utf-8")

    assert main(["check-config", "--config", str(file)]) == MISUSED
    assert [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"{file}:1:1",
        f"{file}:2:13",
        f"{file}:2:13",
    ]


def test_the_file_is_named_by_the_environment_or_is_the_usual_one(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check-config"]) == OK
    assert capsys.readouterr().out.startswith("without a file: good")
    file.with_name("trivet.yaml").write_text("", encoding="utf-8")
    assert main(["check-config"]) == OK
    assert capsys.readouterr().out.startswith("trivet.yaml: good")
    monkeypatch.setenv("TRIVET_CONFIG", str(file))
    assert main(["check-config"]) == OK
    assert capsys.readouterr().out.startswith(f"{file}: good")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "required: COMMAND"),
        (["serve", "everything"], "invalid choice: 'everything'"),
        (["serve", "--http", "8080"], "`8080` is not HOST:PORT"),
        (["serve", "--http", "unix:/x"], "is not HOST:PORT"),
        (["ask"], "required: question"),
    ],
)
def test_a_wrong_command_line_exits_with_2(argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)

    assert caught.value.code == MISUSED
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["serve", "--http", "0.0.0.0:0"], "`server.http`: 0.0.0.0:0 is reachable from outside"),
        (["serve", "model"], "`auth.keys` is empty: parts that run apart need a key that all of them know"),
        (["serve", "--config", "missing.yaml"], "missing.yaml:1:1: can't be read: No such file or directory"),
    ],
)
def test_what_must_not_be_served_is_refused(argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == MISUSED
    assert complaint in capsys.readouterr().err


def test_a_part_that_does_not_know_whom_to_call_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "agent", "--config", str(file)]) == MISUSED
    assert "`services.model` is missing" in capsys.readouterr().err


def test_an_address_in_use_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        file.write_text(f"auth: {{keys: [{{name: dev, key: {KEY}}}]}}", encoding="utf-8")

        assert main(["serve", "tool", "--config", str(file), "--grpc", address]) == FAILED

    assert f"cannot listen on {address}" in capsys.readouterr().err


def test_a_gateway_that_does_not_answer_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        assert main(["models", "--url", url]) == FAILED

    assert f"trivet: no answer from {url}/v1" in capsys.readouterr().err


def test_health_says_not_ready_where_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"

        assert main(["health", "grpc", address]) == FAILED
        assert main(["health", "http", address]) == FAILED

    assert capsys.readouterr().out == "not ready\n" * 2
