"""SQLite: a file, and one thread for each connection to it.

The connection is SQLAlchemy's plain one. An asynchronous driver would hand each statement to its thread by itself, which
costs more than most statements; here a whole batch goes over at once.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event

from trivet.model_service.adapters.store.link import transact
from trivet.model_service.adapters.store.migrating import migrate
from trivet.model_service.adapters.store.work_thread import WorkThread

T = TypeVar("T")

# How long a writer waits while another process writes.
BUSY_SECONDS = 5.0

# Statements that a connection keeps ready: insertions into five tables, of up to 18 numbers of rows, and all others.
_PREPARED = 256


class SqliteLink:
    """A connection to the file, in a thread of its own; one that does not write sees what is committed at each statement."""

    def __init__(self, path: Path, *, writes: bool) -> None:
        self._path = path
        self._writes = writes
        self._engine = _engine(path, writes=writes)
        self._thread = WorkThread("trivet-store")
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], T]) -> "asyncio.Future[T]":
        return self._thread.do(partial(self._run, work))

    async def prepare(self) -> None:
        """Make the file if it is not there, and its tables, while no other process does.

        Raises:
            OSError, SQLAlchemyError, NewerTables: it can't be used.
        """
        await self._thread.do(self._prepare)

    async def aclose(self) -> None:
        await self._thread.do(self._drop)
        self._thread.stop()

    def _prepare(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone_in(self._path.parent):
            if not self._path.exists():
                # For nobody else to read; SQLite gives the files beside it the same mode.
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._run(migrate)

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            return transact(self._connection, work)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _engine(path: Path, *, writes: bool) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        hide_parameters=True,
        # Transactions begin where we say, and not where Python's driver thinks that they should.
        connect_args={"isolation_level": None, "timeout": BUSY_SECONDS, "cached_statements": _PREPARED},
    )
    event.listen(engine, "connect", _set_up)
    if writes:
        event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # Survives a process that is killed; when the power fails, the last moments may be lost, and nothing else.
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin(connection: Connection) -> None:
    # At once for writing: a transaction that begins by reading would fail when it writes after another process did.
    # By the driver itself, which takes a small part of SQLAlchemy's time for it.
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    driver.execute("BEGIN IMMEDIATE")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep out other processes that do the same. A lock on the folder leaves no file behind, and ends with its process."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
