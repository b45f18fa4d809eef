"""What becomes of sessions when the configured servers and limits change."""

import asyncio

import pytest

from tests.tool.fakes import Clock, FakeConnector
from tests.tool.rig import text_of
from trivet.kernel.errors import McpServerNotFound, Overloaded
from trivet.tool_service.domain.pool import PoolLimits, ToolPool
from trivet.tool_service.domain.targets import HttpEndpoint, McpServer, Registry, Target
from trivet.tool_service.domain.tools import ToolCall

BOUND = 10


def server(name: str, path: str = "mcp") -> McpServer:
    return McpServer(name, HttpEndpoint(f"http://{name}.example/{path}"))


class Rig:
    """A pool of the servers `a` and `b`."""

    def __init__(self) -> None:
        self.connector = FakeConnector()
        self.clock = Clock()
        self.pool = ToolPool(self.connector, Registry([server("a"), server("b")]), PoolLimits(), self.clock)

    async def call(self, target: Target) -> str:
        """The number of the session that served."""
        return text_of(await self.pool.call(target, "caller", ToolCall("t", {})))

    def change(self, *servers: McpServer, limits: PoolLimits | None = None) -> None:
        self.pool.apply(Registry(servers), limits or self.pool.limits)

    async def open(self) -> list[int]:
        """The numbers of the sessions that are open, once all that could be closed is."""
        for _ in range(20):
            await asyncio.sleep(0)
        return [session.number for session in self.connector.sessions if not session.closed]


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_what_is_the_same_keeps_its_session_and_what_is_gone_or_other_loses_it(rig: Rig) -> None:
    assert [await rig.call(Target(name)) for name in ("a", "b")] == ["from 1", "from 2"]

    rig.change(server("a"), server("b", "elsewhere"))

    assert await rig.open() == [1]
    assert [await rig.call(Target(name)) for name in ("a", "b")] == ["from 1", "from 3"]
    assert rig.connector.servers[-1] == server("b", "elsewhere")

    rig.change(server("b", "elsewhere"))

    assert await rig.open() == [3]
    with pytest.raises(McpServerNotFound):
        await rig.call(Target("a"))


@pytest.mark.parametrize("still_there", [True, False])
async def test_a_running_call_ends_well_and_then_its_session_is_closed(rig: Rig, still_there: bool) -> None:
    gate = asyncio.Event()
    rig.connector.prepare = lambda session: setattr(session, "gate", gate)
    running = asyncio.create_task(rig.call(Target("a")))
    await rig.open()

    rig.change(*([server("a", "elsewhere")] if still_there else []))

    assert await rig.open() == [1]
    gate.set()
    async with asyncio.timeout(BOUND):
        assert await running == "from 1"
    assert await rig.open() == []


async def test_a_session_that_waits_for_its_last_call_is_closed_with_the_pool(rig: Rig) -> None:
    rig.connector.prepare = lambda session: setattr(session, "gate", asyncio.Event())
    running = asyncio.create_task(rig.call(Target("a")))
    await rig.open()
    rig.change()

    async with asyncio.timeout(BOUND):
        await rig.pool.close()

    assert await rig.open() == []
    running.cancel()
    await asyncio.wait({running})


async def test_headers_of_a_caller_are_no_other_server(rig: Rig) -> None:
    assert await rig.call(Target("a", headers={"x-own": "1"})) == "from 1"

    rig.change(server("a"))

    assert await rig.call(Target("a", headers={"x-own": "1"})) == "from 1"


async def test_guests_stay_until_they_are_asked_to_leave(rig: Rig) -> None:
    guest = Target(url="http://guest.example/mcp")
    assert [await rig.call(target) for target in (Target("a"), guest)] == ["from 1", "from 2"]

    rig.change(server("a"))
    assert await rig.open() == [1, 2]

    rig.pool.leave_guests()
    assert await rig.open() == [1]
    assert await rig.call(guest) == "from 3"


async def test_limits_change_for_what_comes(rig: Rig) -> None:
    await rig.call(Target("a"))
    rig.change(server("a"), server("b"), limits=PoolLimits(max_sessions=1, idle_timeout=5))
    rig.clock.now += 6
    rig.pool.close_idle()
    assert await rig.open() == []

    rig.connector.prepare = lambda session: setattr(session, "gate", asyncio.Event())
    running = asyncio.create_task(rig.call(Target("a")))
    await rig.open()
    with pytest.raises(Overloaded):
        await rig.call(Target("b"))
    running.cancel()
    await asyncio.wait({running})
