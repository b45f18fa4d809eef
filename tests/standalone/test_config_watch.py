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


@pytest.fixture
async def looks(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[bool]:
    """Whether there was a reason to read the file, each time that it was looked at, which is often."""
    told: asyncio.Queue[bool] = asyncio.Queue()
    looking = ConfigWatch._may_have_changed

    def looked(watch: ConfigWatch) -> bool:
        found = looking(watch)
        loop.call_soon_threadsafe(told.put_nowait, found)
        return found

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(ConfigWatch, "_may_have_changed", looked)
    monkeypatch.setattr(config_watch, "_LOOK_SECONDS", 0.01)
    return told


async def test_what_is_not_the_file_or_says_the_same_is_no_change(file: Path, looks: asyncio.Queue[bool]) -> None:
    async with asyncio.timeout(BOUND), aclosing(ConfigWatch(file).changes()) as changes:
        waiting = asyncio.create_task(next_change(changes))
        for unimportant in (file.with_name("other.txt").touch, file.touch, file.unlink):
            await looks.get()
            unimportant()
        for _ in range(3):
            await looks.get()
        assert not waiting.done()
        write(file)
        await waiting


async def test_a_file_that_stays_as_it_is_is_read_once(
    file: Path, looks: asyncio.Queue[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_watch, "_YOUNG_SECONDS", 0.0)
    async with asyncio.timeout(BOUND), aclosing(ConfigWatch(file).changes()) as changes:
        waiting = asyncio.create_task(next_change(changes))
        assert [await looks.get() for _ in range(4)] == [True, False, False, False]
        write(file)
        await waiting


async def test_what_is_written_again_before_the_clock_of_the_disk_goes_on_is_noticed(
    file: Path, looks: asyncio.Queue[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    always = file.stat()
    monkeypatch.setattr(Path, "stat", lambda _: always)
    monkeypatch.setattr(config_watch, "_YOUNG_SECONDS", 3600.0)
    async with aclosing(ConfigWatch(file).changes()) as changes:
        for text in ("one", "two"):
            waiting = asyncio.create_task(next_change(changes))
            file.write_text(text, encoding="utf-8")
            await waiting
