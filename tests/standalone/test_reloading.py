"""The configuration is read again while it is followed, and what is broken is refused."""

import asyncio
import logging
import os
import signal
from argparse import Namespace
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from trivet.standalone.config import Config
from trivet.standalone.failures import CommandFailed, Misused
from trivet.standalone.reloading import Reloading
from trivet.standalone.served_config import ServedConfig

BOUND = 30
GOOD = """\
server: {reload: signal}
auth: {keys: [{name: ops, key: sk-hush-ops}]}
providers: [{name: lab, type: openai-chat, base_url: "http://h/v1"}]
"""
OTHER = GOOD.replace("lab", "new")


class Lines(logging.Handler):
    """What is logged, line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put_nowait(record.getMessage())

    async def until(self, mark: str) -> list[str]:
        """The lines up to the one with `mark` in it."""
        seen = [""]
        async with asyncio.timeout(BOUND):
            while mark not in seen[-1]:
                seen.append(await self.lines.get())
        return seen[1:]


@pytest.fixture
def lines() -> Iterator[Lines]:
    log, lines = logging.getLogger("trivet.config"), Lines()
    level = log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(lines)
    log.setLevel(level)


class Rig:
    """A configuration that is followed; `applied` is what was put in force."""

    def __init__(self, file: Path, part: str = "all") -> None:
        self.file = file
        self.applied: list[Config] = []
        self.fails: Exception | None = None
        self.reloading = Reloading(ServedConfig(Namespace(config=file, http=None, grpc=None, workers=None, part=part)), "all")

    async def apply(self, config: Config) -> None:
        if self.fails:
            raise self.fails
        self.applied.append(config)

    @property
    def told(self) -> dict[str, Any]:
        return self.reloading.told()

    def reload(self, text: str | None = None) -> None:
        if text is not None:
            self.file.write_text(text, encoding="utf-8")
        os.kill(os.getpid(), signal.SIGHUP)


@asynccontextmanager
async def following(folder: Path, text: str = GOOD) -> Any:
    file = folder / "trivet.yaml"
    file.write_text(text, encoding="utf-8")
    rig = Rig(file)
    async with rig.reloading.following(rig.apply):
        yield rig


async def test_a_signal_has_the_file_read_again_and_put_in_force(tmp_path: Path, lines: Lines) -> None:
    async with following(tmp_path) as rig:
        begun = rig.told
        rig.reload(OTHER)
        said = await lines.until("reloaded")

        assert said == ["configuration reloaded: providers (new added, lab removed)"]
        assert [config.providers[0].name for config in rig.applied] == ["new"]
        assert rig.reloading.config is rig.applied[0]
        assert rig.told["loaded_at"] > begun["loaded_at"]
        assert (rig.told["refused"], rig.told["restart_needed"]) == (None, [])


@pytest.mark.parametrize(
    ("text", "problems", "line"),
    [
        ("providers: [{", 1, "1:14: not YAML"),
        (GOOD + "servr: {}\nagnt: {}\n", 2, "4:1: unknown key `servr`: did you mean `server`?"),
        (GOOD.replace("sk-hush-ops", "'${TRIVET_NO_SUCH}'"), 1, "the environment variable `TRIVET_NO_SUCH` is not set"),
        (GOOD.replace("http://h/v1", "nowhere"), 1, "not an http:// or https:// URL"),
        (
            GOOD + "mcp_servers: [{name: a, url: 'http://h/m'}, {name: a, url: 'http://h/m'}]\n",
            1,
            "two MCP servers are named `a`",
        ),
        (GOOD.replace("}]\n", "}, {name: lab, type: local}]\n"), 1, "two providers are named `lab`"),
        ("", 1, "`auth.keys` has become empty: give a key"),
        (GOOD + "server: {}\n", 1, "duplicate key `server`"),
    ],
)
async def test_a_broken_file_is_refused_and_a_good_one_heals_that(
    tmp_path: Path, lines: Lines, text: str, problems: int, line: str
) -> None:
    async with following(tmp_path) as rig:
        begun = rig.told
        rig.reload(text)
        said = await lines.until(line)

        assert said[0].endswith(f"stays in force; try `trivet check-config --config {rig.file}`")
        assert "sk-hush" not in "".join(said)
        assert rig.applied == []
        assert rig.told["refused"].pop("at") >= begun["loaded_at"]
        assert rig.told == begun | {"refused": {"problems": problems}}

        rig.reload(GOOD)
        assert (await lines.until("reloaded"))[-1] == "configuration reloaded: nothing has changed"
        assert rig.told["refused"] is None


async def test_a_file_that_is_gone_is_refused(tmp_path: Path, lines: Lines) -> None:
    async with following(tmp_path) as rig:
        rig.file.unlink()
        rig.reload()

        await lines.until("can't be read: No such file or directory")
        assert rig.told["refused"]["problems"] == 1


@pytest.mark.parametrize("failure", [CommandFailed("it does not open"), RuntimeError("it does not open")])
async def test_what_cannot_be_put_in_force_is_refused(tmp_path: Path, lines: Lines, failure: Exception) -> None:
    async with following(tmp_path) as rig:
        rig.fails = failure
        rig.reload(OTHER)
        await lines.until("configuration refused: it ")
        assert rig.told["refused"]["problems"] == 1

        rig.fails = None
        rig.reload()
        await lines.until("reloaded: providers (new added")
        assert rig.told["refused"] is None


async def test_what_needs_a_restart_is_told_until_it_is_taken_back(tmp_path: Path, lines: Lines) -> None:
    async with following(tmp_path) as rig:
        changed = OTHER.replace("reload: signal", "reload: signal, grace_seconds: 3, http: '127.0.0.1:1'")
        rig.reload(changed)
        await lines.until("a restart is needed for server.http, server.grace_seconds")
        assert rig.told["restart_needed"] == ["server.http", "server.grace_seconds"]
        assert rig.applied[-1].providers[0].name == "new"

        rig.reload(OTHER)
        await lines.until("reloaded")
        assert rig.told["restart_needed"] == []


async def test_a_change_of_the_file_is_enough_where_that_is_wanted(tmp_path: Path, lines: Lines) -> None:
    async with following(tmp_path, GOOD.replace("reload: signal", "reload: watch")) as rig:
        rig.file.write_text(OTHER.replace("reload: signal", "reload: watch"), encoding="utf-8")

        await lines.until("reloaded: providers (new added, lab removed)")


async def test_a_generated_key_stays_until_the_file_has_one(tmp_path: Path, lines: Lines) -> None:
    keyless = "server: {reload: signal}\n"
    async with following(tmp_path, keyless) as rig:
        generated = rig.reloading.config.auth.keys
        rig.reload(keyless + "agent: {max_parallel_tool_calls: 3}\n")
        await lines.until("reloaded: agent.max_parallel_tool_calls")
        assert rig.reloading.config.auth.keys == generated

        rig.reload(GOOD)
        await lines.until("reloaded")
        assert [key.name for key in rig.reloading.config.auth.keys] == ["ops"]


def test_a_part_refuses_to_start_without_keys(tmp_path: Path) -> None:
    file = tmp_path / "trivet.yaml"
    file.write_text("", encoding="utf-8")

    with pytest.raises(Misused, match=r"`auth\.keys` is empty"):
        Rig(file, "tool")
