"""A file that changes in all the ways in which files are changed."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from trivet.standalone import config_watch
from trivet.standalone.config_watch import ConfigWatch

BOUND = 30


def write(file: Path) -> None:
    file.write_text("new", encoding="utf-8")


def write_in_pieces(file: Path) -> None:
    with file.open("w", encoding="utf-8") as opened:
        for letter in "new":
            opened.write(letter)
            opened.flush()


def replace(file: Path) -> None:
    beside = file.with_name("trivet.yaml.swp")
    beside.write_text("new", encoding="utf-8")
    beside.rename(file)


def take_away_and_put_back(file: Path) -> None:
    file.unlink()
    file.write_text("new", encoding="utf-8")


async def next_change(changes: AsyncGenerator[None]) -> None:
    async with asyncio.timeout(BOUND):
        await anext(changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "trivet.yaml").write_text("old", encoding="utf-8")
    return tmp_path / "trivet.yaml"


@pytest.mark.parametrize("change", [write, write_in_pieces, replace, take_away_and_put_back])
async def test_a_change_is_noticed_however_it_is_made(file: Path, change: Callable[[Path], None]) -> None:
    async with aclosing(ConfigWatch(file).changes()) as changes:
        waiting = asyncio.create_task(next_change(changes))
        await asyncio.sleep(0)
        change(file)
        await waiting

        assert file.read_text(encoding="utf-8") == "new"


async def test_a_folder_that_is_swapped_behind_a_link_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes updates a mounted ConfigMap: `trivet.yaml -> ..data/trivet.yaml`, and `..data` is replaced."""
    for name in ("..1", "..2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trivet.yaml").write_text(name, encoding="utf-8")
    (tmp_path / "..data").symlink_to("..1")
    file = tmp_path / "trivet.yaml"
    file.symlink_to("..data/trivet.yaml")
    async with aclosing(ConfigWatch(file).changes()) as changes:
        waiting = asyncio.create_task(next_change(changes))
        await asyncio.sleep(0)
        (tmp_path / "..data_tmp").symlink_to("..2")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")  # noqa: PTH105 - the call that Kubernetes makes
        await waiting

        assert file.read_text(encoding="utf-8") == "..2"


async def test_a_change_before_anybody_watches_is_not_missed(file: Path) -> None:
    watch = ConfigWatch(file)
    write(file)

    async with aclosing(watch.changes()) as changes:
        await next_change(changes)


async def test_what_is_not_the_file_or_says_the_same_is_no_change(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: asyncio.Queue[None] = asyncio.Queue()
    read = ConfigWatch._digest

    def looked(watch: ConfigWatch) -> bytes:
        loop.call_soon_threadsafe(looks.put_nowait, None)
        return read(watch)

    loop = asyncio.get_running_loop()
    watch = ConfigWatch(file)
    monkeypatch.setattr(ConfigWatch, "_digest", looked)
    monkeypatch.setattr(config_watch, "_LOOK_SECONDS", 0.05)
    async with asyncio.timeout(BOUND), aclosing(watch.changes()) as changes:
        waiting = asyncio.create_task(next_change(changes))
        for unimportant in (lambda: file.with_name("other.txt").touch(), file.touch, file.unlink):
            await looks.get()
            unimportant()
        await looks.get()
        assert not waiting.done()
        write(file)
        await waiting


async def test_where_nothing_is_told_the_file_is_looked_at(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: object, **__: object) -> AsyncGenerator[None]:
        async def changes() -> AsyncGenerator[None]:
            raise OSError("no more watches")
            yield

        return changes()

    monkeypatch.setattr(config_watch, "awatch", refuses)
    monkeypatch.setattr(config_watch, "_LOOK_SECONDS", 0.01)
    async with aclosing(ConfigWatch(file).changes()) as changes:
        for text in ("one", "two"):
            waiting = asyncio.create_task(next_change(changes))
            file.write_text(text, encoding="utf-8")
            await waiting

    assert "no more watches" in caplog.text
