"""PostgreSQL, by asyncpg."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import URL, Connection, NullPool, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from trivet.model_service.adapters.store.link import transact
from trivet.model_service.adapters.store.migrating import migrate
from trivet.model_service.adapters.store.schema import use_postgresql

T = TypeVar("T")

_CONNECT_SECONDS = 5
_COMMAND_SECONDS = 30
_MIGRATION_LOCK = 7_486_948_201


class PostgresLink:
    """A connection; one that does not write has no transactions, and sees what is committed at each statement."""

    def __init__(self, engine: AsyncEngine, *, writes: bool) -> None:
        self._engine = engine if writes else engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connection: AsyncConnection | None = None

    def run(self, work: Callable[[Connection], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().create_task(self._run(work))

    async def prepare(self) -> None:
        """Make the tables, while no other process does.

        Raises:
            OSError, SQLAlchemyError, NewerTables: it can't be used.
        """
        await self._run(_migrate_alone)

    async def aclose(self) -> None:
        await self._drop()

    async def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = await self._connect()
            return await self._connection.run_sync(transact, work)
        except BaseException:
            await self._drop()
            raise

    async def _connect(self) -> AsyncConnection:
        try:
            return await self._engine.connect()
        except (PostgresError, InterfaceError) as error:
            # SQLAlchemy does not stand between while the driver connects.
            raise ConnectionError(str(error)) from error

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # It may be the very reason why it is dropped.
            with suppress(SQLAlchemyError, OSError):
                await connection.close()


def postgres_engine(url: URL) -> AsyncEngine:
    """What links of one store connect by."""
    use_postgresql()
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={
            "timeout": _CONNECT_SECONDS,
            "command_timeout": _COMMAND_SECONDS,
            # A statement is another one for each number of ids that it is given.
            "prepared_statement_cache_size": 500,
            # Compiling a query of ours to machine code costs more than it saves.
            "server_settings": {"application_name": "trivet", "jit": "off"},
        },
    )


def _migrate_alone(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    migrate(connection)
