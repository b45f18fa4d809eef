"""Servers that are slow to start, one of each kind for all tests."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.tool.rig import Child, child
from tests.tool.servers.minimal import MinimalServer, minimal_server


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """No test may leave a task, or an error that nobody asked for."""
    unheard: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    before = asyncio.all_tasks()
    yield
    async with asyncio.timeout(30):
        while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
            await asyncio.wait(left)
    gc.collect()
    assert unheard == []


@pytest.fixture(scope="session")
def showcases() -> Iterator[Callable[[str], Child]]:
    """The showcase server of a kind, counting from zero; for tests that do not kill it."""
    running: dict[str, Child] = {}
    with ExitStack() as stack:

        def of(kind: str) -> Child:
            if kind not in running:
                running[kind] = stack.enter_context(child(kind))
            running[kind].forget()
            return running[kind]

        yield of


@pytest.fixture(params=["http", "legacy", "json"])
def showcase(request: pytest.FixtureRequest, showcases: Callable[[str], Child]) -> Child:
    """A server over streamable HTTP: of both eras, of the handshake era, and one that never streams."""
    return showcases(request.param)


@pytest.fixture(params=["http", "legacy"])
def streaming(request: pytest.FixtureRequest, showcases: Callable[[str], Child]) -> Child:
    """A server over streamable HTTP that answers with event streams, so that it can send more than the answer."""
    return showcases(request.param)


@pytest.fixture
async def minimal() -> AsyncIterator[MinimalServer]:
    """A server written by hand."""
    async with minimal_server() as server:
        yield server
