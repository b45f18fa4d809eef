"""Stores in both databases, each test in a fresh one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.upstreams.postgres import Postgres, postgres_server
from trivet.model_service.adapters.store.sql_store import SqlStore, open_store
from trivet.model_service.settings import StoreSettings

Opener: TypeAlias = Callable[..., Awaitable[SqlStore]]

SECRET = "the secret of the tests"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL, started when a test first asks for it."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that nobody has used yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/trivet.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Opener]:
    """Opens the database once more, as another process would, with these settings; all are closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_with(**settings: Any) -> SqlStore:
            configured = StoreSettings.model_validate({"url": url, "secret_key": SECRET, **settings})
            return await stack.enter_async_context(open_store(configured))

        yield open_with


@pytest.fixture
async def store(opened: Opener) -> SqlStore:
    """A store in the fresh database."""
    return await opened()
