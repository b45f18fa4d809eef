"""A store is opened: its file, its tables, and what stands in the way."""

import asyncio
import os
import pwd
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import ValidationError
from sqlalchemy import Connection, text

from tests.model.store.conftest import SECRET, Opener
from tests.model.store.samples import queued, response
from tests.upstreams.postgres import Postgres
from trivet.kernel.errors import Overloaded
from trivet.model_service.adapters.store import migrating, schema
from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.sql_store import SqlStore, open_store
from trivet.model_service.settings import CannotOpenStore, ModelSettings, StoreSettings

ROOT = Path(__file__).parents[3]


async def do(store: SqlStore, work: Callable[[Connection], Any]) -> Any:
    """What `work` returns."""
    return await store._writing.do(each(lambda connection, _: work(connection)), None)


# ---- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["at once", "by the migrations"])
async def test_a_database_gets_the_tables_that_the_code_knows_in_either_way(store: SqlStore, way: str) -> None:
    def begin_anew(connection: Connection) -> None:
        schema.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        migrating.upgrade(connection, "")

    if way == "by the migrations":
        await do(store, begin_anew)
    differences = await do(store, lambda connection: compare_metadata(MigrationContext.configure(connection), schema.metadata))

    assert [one for one in differences if "alembic_version" not in str(one)] == []
    version = await do(store, lambda connection: MigrationContext.configure(connection).get_current_revision())
    assert version == schema.VERSION


def test_the_version_of_the_code_is_that_of_the_last_migration() -> None:
    script = ScriptDirectory(str(Path(migrating.__file__).parent / "migrations"))

    assert script.get_current_head() == schema.VERSION


async def test_what_is_there_is_there_when_the_store_is_opened_again(store: SqlStore, opened: Opener) -> None:
    kept = response()
    await store.add(kept)

    assert await (await opened()).get(kept.id, "me") == kept


async def test_a_database_that_a_newer_trivet_has_used_is_left_alone(store: SqlStore, opened: Opener) -> None:
    await do(store, lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))

    with pytest.raises(CannotOpenStore, match=r"of version 9999, those of this Trivet of 0002: use a newer Trivet"):
        await opened()


def test_a_start_with_nothing_to_migrate_does_not_load_what_it_has_no_use_for(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from trivet.model_service.adapters.store.sql_store import open_store\n"
        "from trivet.model_service.settings import StoreSettings\n"
        "async def main():\n"
        f"    async with open_store(StoreSettings(url='sqlite:///{tmp_path}/trivet.db')):\n"
        "        print({'alembic', 'cryptography', 'sqlalchemy.orm', 'asyncpg'} & set(sys.modules))\n"
        "asyncio.run(main())\n"
    )
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(2)]

    assert said == ["set()\n", "set()\n"]


async def test_processes_that_start_at_once_make_the_tables_once_and_share_the_work(url: str, opened: Opener) -> None:
    command = [sys.executable, "-m", "tests.model.store.claimant", url]
    pipe = asyncio.subprocess.PIPE
    claimants = [
        await asyncio.create_subprocess_exec(*command, f"runner {n}", cwd=ROOT, stdin=pipe, stdout=pipe) for n in range(4)
    ]
    try:
        async with asyncio.timeout(120):
            for claimant in claimants:
                assert claimant.stdout
                assert await claimant.stdout.readline() == b"open\n"
            waiting = [queued() for _ in range(60)]
            store = await opened()
            await asyncio.gather(*(store.add(one) for one in waiting))

            said = await asyncio.gather(*(claimant.communicate(b"go\n") for claimant in claimants))
    finally:
        for claimant in claimants:
            if claimant.returncode is None:
                claimant.kill()
                await claimant.wait()

    claimed = [line for out, _ in said for line in out.decode().splitlines()]
    assert sorted(claimed) == sorted(one.id for one in waiting)


# ---- the file ----------------------------------------------------------------------------------------------------------


async def test_without_a_url_the_file_is_among_the_users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    umask = os.umask(0)
    try:
        async with open_store(StoreSettings()) as store:
            await store.add(queued())
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data/trivet").iterdir()}
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / "data/trivet").stat().st_mode) == 0o700
    assert found == dict.fromkeys(("trivet.db", "trivet.db-wal", "trivet.db-shm", "trivet.db.key"), 0o600)


@pytest.mark.parametrize("data", [None, "", "relative/folder"])
def test_without_a_folder_of_user_data_it_is_below_the_home(monkeypatch: pytest.MonkeyPatch, data: str | None) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_DATA_HOME")
    if data is not None:
        monkeypatch.setenv("XDG_DATA_HOME", data)

    assert StoreSettings().file == Path("/home/somebody/.local/share/trivet/trivet.db")


async def test_a_user_without_a_home_has_to_say_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("HOME", raising=False)

    def nobody_known(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody_known)

    with pytest.raises(CannotOpenStore, match=r"`store.url`"):
        async with open_store(StoreSettings()):
            pass


async def test_without_room_for_a_secret_what_needs_it_is_refused_for_now(tmp_path: Path) -> None:
    (tmp_path / "t.db.key").mkdir()
    async with open_store(StoreSettings.model_validate({"url": f"sqlite:///{tmp_path}/t.db"})) as store:
        with pytest.raises(Overloaded):
            await store.add(queued())
        (tmp_path / "t.db.key").rmdir()
        await store.add(queued())


async def test_processes_without_a_secret_share_one_that_they_make(tmp_path: Path) -> None:
    settings = StoreSettings.model_validate({"url": f"sqlite:///{tmp_path}/t.db"})
    kept = queued(), queued()
    async with open_store(settings) as one, open_store(settings) as other:
        await asyncio.gather(one.add(kept[0]), other.add(kept[1]))

        assert await other.claim("there", 9) in kept
        assert await one.claim("here", 9) in kept
    assert len([path for path in tmp_path.iterdir() if "key" in path.name]) == 1


async def test_a_file_survives_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, signal, sys\n"
        "from tests.model.store.samples import response\n"
        "from trivet.model_service.adapters.store.sql_store import open_store\n"
        "from trivet.model_service.settings import StoreSettings\n"
        "async def main():\n"
        f"    async with open_store(StoreSettings(url='sqlite:///{tmp_path}/trivet.db')) as store:\n"
        "        await asyncio.gather(*(store.add(response(id=f'resp_{n}')) for n in range(500)))\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -9

    async with open_store(StoreSettings.model_validate({"url": f"sqlite:///{tmp_path}/trivet.db"})) as store:
        for n in range(500):
            assert await store.get(f"resp_{n}", "me") is not None


# ---- what can't be opened ----------------------------------------------------------------------------------------------


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database " * 100)

    with pytest.raises(CannotOpenStore, match=f"cannot open the store sqlite:///{file}: file is not a database"):
        async with open_store(StoreSettings.model_validate({"url": f"sqlite:///{file}"})):
            pass
    assert file.read_text() == "not a database " * 100


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    with pytest.raises(CannotOpenStore, match=r"cannot open the store sqlite:///.*/taken/trivet.db: "):
        async with open_store(StoreSettings.model_validate({"url": f"sqlite:///{tmp_path}/taken/trivet.db"})):
            pass


async def test_a_database_of_others_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "others.db")) as others:
        others.execute("CREATE TABLE responses (answer)")

    with pytest.raises(CannotOpenStore, match="already exists"):
        async with open_store(StoreSettings.model_validate({"url": f"sqlite:///{tmp_path}/others.db"})):
            pass
    with closing(sqlite3.connect(tmp_path / "others.db")) as others:
        assert others.execute("SELECT name FROM sqlite_master").fetchall() == [("responses",)]


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("127.0.0.1:1/trivet", "onnect"),
        ("/trivet?host=/nowhere/at/all", "No such file"),
        ("/unheard_of?host={folder}", "unheard_of"),
    ],
)
async def test_a_server_that_cannot_be_used_is_named_without_its_password(postgres: Postgres, place: str, why: str) -> None:
    place = place.format(folder=re.search(r"host=(\S+)", postgres.url())[1])  # type: ignore[index]
    settings = StoreSettings.model_validate({"url": f"postgresql://trivet:hidden-word@{place}", "secret_key": SECRET})

    with pytest.raises(CannotOpenStore, match=why) as caught:
        async with open_store(settings):
            pass

    assert "cannot open the store postgresql://trivet:***@" in str(caught.value)
    assert "hidden-word" not in str(caught.value)


# ---- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "trivet.db",
        "/var/lib/trivet.db",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/file",
        "mysql://host/trivet",
        "postgresql://h",
    ],
)
def test_a_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="not a database's URL"):
        StoreSettings.model_validate({"url": url, "secret_key": SECRET})


@pytest.mark.parametrize("url", ["postgres://u:p@h/d", "postgresql://h/d", "postgresql+asyncpg://u@/d?host=/tmp"])
def test_a_store_that_hosts_share_needs_a_secret_that_they_share(url: str) -> None:
    with pytest.raises(ValidationError, match="needs a `secret_key`"):
        StoreSettings.model_validate({"url": url})
    with pytest.raises(ValidationError, match="at least 16"):
        StoreSettings.model_validate({"url": url, "secret_key": "short"})

    assert StoreSettings.model_validate({"url": url, "secret_key": SECRET}).file is None


def test_a_path_may_be_relative_or_not() -> None:
    assert StoreSettings.model_validate({"url": "sqlite:///a/b.db"}).file == Path("a/b.db")
    assert StoreSettings.model_validate({"url": "sqlite:////a/b.db"}).file == Path("/a/b.db")


def test_settings_are_shown_without_their_secrets() -> None:
    store = {"url": "postgresql://u:hidden-word@h/d", "secret_key": "another hidden-word"}

    assert "hidden-word" not in repr(ModelSettings.model_validate({"store": store}))
