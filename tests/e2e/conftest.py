"""Gateways that are slow to start, one of each shape for all tests; every test of this folder runs in one loop with them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.shapes import Shape, World, in_four, in_one, nobody
from tests.e2e.tool_server import tool_server
from tests.upstreams.scripted import ScriptedUpstream


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world() -> AsyncIterator[World]:
    with nobody() as address:
        async with ScriptedUpstream() as upstream, tool_server() as tools:
            yield World(upstream, tools, address)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def one_process(world: World) -> AsyncIterator[Shape]:
    async with in_one(world) as shape:
        yield shape


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def four_processes(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shape]:
    async with in_four(world, tmp_path_factory.mktemp("four")) as shape:
        yield shape


@pytest.fixture(params=["one_process", "four_processes"])
def shape(request: pytest.FixtureRequest, world: World) -> Shape:
    """A gateway in each shape."""
    shape: Shape = request.getfixturevalue(request.param)
    return shape


@pytest.fixture
def one(one_process: Shape) -> Shape:
    """The gateway in one process, where the shape can't make a difference."""
    return one_process


@pytest.fixture(autouse=True)
def nothing_remembered(request: pytest.FixtureRequest) -> None:
    """A world that remembers nothing of earlier tests."""
    if "world" in request.fixturenames:
        world: World = request.getfixturevalue("world")
        world.upstream.forget()
        world.tools.forget()
