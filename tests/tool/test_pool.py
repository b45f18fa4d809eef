"""The rules of the pool, with servers and time under the test's thumb."""

import asyncio

import pytest

from tests.tool.fakes import Clock, FakeConnector, FakeSession
from tests.tool.rig import call, events_of, text_of
from trivet.kernel.errors import AddressRefused, McpServerUnavailable, Overloaded, RequestTimeout, ToolNotFound
from trivet.tool_service.domain.pool import PoolLimits, ToolPool
from trivet.tool_service.domain.session import Answered, ConnectFailed, Interrupted, NeverReached, TimedOut
from trivet.tool_service.domain.targets import HttpEndpoint, McpServer, Registry, Target
from trivet.tool_service.domain.tools import Progress, ToolResult

SERVERS = [McpServer(name, HttpEndpoint(f"http://{name}.example/mcp"), call_timeout=7) for name in ("s", "b", "c")]


class Rig:
    def __init__(self, **limits: float) -> None:
        self.connector = FakeConnector()
        self.clock = Clock()
        known = {"max_sessions": 8, "idle_timeout": 100.0, "tools_max_age": 50.0, **limits}
        self.pool = ToolPool(self.connector, Registry(SERVERS), PoolLimits(**known), self.clock)  # type: ignore[arg-type]

    async def list(self, name: str = "s", principal: str = "caller") -> int:
        """How many tools."""
        return len((await self.pool.list_tools(Target(name), principal)).tools)

    @property
    def session(self) -> FakeSession:
        return self.connector.sessions[-1]


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def settled() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_concurrent_first_users_share_one_attempt_and_one_list(rig: Rig) -> None:
    rig.connector.gate.clear()
    users = [asyncio.create_task(rig.list()) for _ in range(10)]
    await settled()
    users[0].cancel()
    await settled()
    rig.connector.gate.set()

    assert await asyncio.gather(*users[1:]) == [1] * 9
    assert rig.connector.attempts == 1
    assert rig.session.lists == 1


async def test_all_users_of_a_failed_attempt_hear_of_it(rig: Rig) -> None:
    rig.connector.gate.clear()
    rig.connector.fails.append(ConnectFailed("is asleep"))
    users = [asyncio.create_task(rig.list()) for _ in range(3)]
    await settled()
    rig.connector.gate.set()

    for error in await asyncio.gather(*users, return_exceptions=True):
        assert isinstance(error, McpServerUnavailable)
        assert error.message == "The MCP server `s` is asleep."
    assert rig.connector.attempts == 1


async def test_an_attempt_whose_users_have_all_left_is_still_of_use(rig: Rig) -> None:
    rig.connector.gate.clear()
    user = asyncio.create_task(rig.list())
    await settled()
    user.cancel()
    await settled()
    rig.connector.gate.set()
    await settled()

    assert await rig.list() == 1
    assert rig.connector.attempts == 1


async def test_a_dead_server_fails_at_once_for_as_long_as_the_attempt_took(rig: Rig) -> None:
    def three_seconds() -> None:
        rig.clock.now += 3

    rig.connector.attempt = three_seconds
    rig.connector.fails.extend([ConnectFailed("is dead"), ConnectFailed("is still dead")])
    for _ in range(2):
        with pytest.raises(McpServerUnavailable, match="is dead"):
            await rig.list()
    assert rig.connector.attempts == 1

    rig.clock.now += 3
    with pytest.raises(McpServerUnavailable, match="is still dead"):
        await rig.list()
    rig.clock.now += 3
    assert await rig.list() == 1


async def test_a_refused_address_is_told_with_the_field_of_each_request(rig: Rig) -> None:
    rig.connector.fails.append(AddressRefused("no", ""))
    for param in ("first", "second"):
        with pytest.raises(AddressRefused) as caught:
            await rig.pool.list_tools(Target(url="http://x.example/", param=param), "caller")
        assert caught.value.param == f"{param}.url"
    assert rig.connector.attempts == 1


async def test_each_caller_and_each_set_of_headers_has_a_session_of_its_own() -> None:
    rig = Rig(max_sessions=20)
    targets = [
        Target("s"),
        Target("b"),
        Target("s", headers={"a": "1"}),
        Target("s", headers={"a": "2"}),
        Target(url="http://s.example/mcp"),
    ]
    for target in targets * 2:
        for principal in ("one", "two"):
            await rig.pool.list_tools(target, principal)

    assert len(rig.connector.sessions) == 2 * len(targets)


async def test_a_call_goes_through_with_the_servers_own_timeout_or_the_requests(rig: Rig) -> None:
    assert text_of(await call(rig.pool, "t", {"a": 1})) == "from 1"
    await call(rig.pool, "t", timeout=2)

    assert rig.session.calls == [("t", {"a": 1}, 7), ("t", {}, 2)]
    assert rig.session.lists == 1


async def test_a_call_that_surely_was_not_made_is_made_once_more(rig: Rig) -> None:
    await rig.list()
    rig.session.call_fails.append(NeverReached("was gone"))

    assert text_of(await call(rig.pool, "t")) == "from 2"
    await settled()
    assert rig.connector.sessions[0].closed


async def test_a_call_that_is_never_made_makes_the_server_unavailable(rig: Rig) -> None:
    rig.connector.prepare = lambda session: session.call_fails.append(NeverReached("was gone"))

    with pytest.raises(McpServerUnavailable, match="`s` was gone"):
        await call(rig.pool, "t")
    assert rig.connector.attempts == 2


async def test_a_call_that_may_have_been_made_is_a_failed_result(rig: Rig) -> None:
    await rig.list()
    rig.session.call_fails.append(Interrupted("was lost"))

    result = await call(rig.pool, "t")
    assert result == ToolResult.failure("The MCP server `s` was lost.")
    assert rig.connector.attempts == 1
    assert text_of(await call(rig.pool, "t")) == "from 2"


async def test_an_error_of_the_server_is_a_failed_result_and_the_session_stays(rig: Rig) -> None:
    await rig.list()
    rig.session.call_fails.append(Answered("answered with an error: no"))

    assert (await call(rig.pool, "t")).is_error
    assert text_of(await call(rig.pool, "t")) == "from 1"


async def test_a_timeout_is_an_error_and_the_session_stays(rig: Rig) -> None:
    await rig.list()
    rig.session.call_fails.append(TimedOut("did not answer within 7 s"))

    with pytest.raises(RequestTimeout, match="`s` did not answer within 7 s"):
        await call(rig.pool, "t")
    assert text_of(await call(rig.pool, "t")) == "from 1"


async def test_a_lost_list_before_a_call_does_not_forbid_the_call(rig: Rig) -> None:
    fails = [Interrupted("was lost")]
    rig.connector.prepare = lambda session: session.list_fails.extend(fails and [fails.pop()])

    assert text_of(await call(rig.pool, "t")) == "from 2"


@pytest.mark.parametrize("error", [Answered("answered with an error: no"), TimedOut("did not answer")])
async def test_a_list_that_the_server_refuses_makes_it_unavailable(rig: Rig, error: Exception) -> None:
    rig.connector.prepare = lambda session: session.list_fails.append(error)

    with pytest.raises(McpServerUnavailable, match=str(error)):
        await rig.list()
    assert await rig.list() == 1


async def test_an_unknown_tool_is_looked_for_in_a_fresh_list(rig: Rig) -> None:
    await rig.list()
    with pytest.raises(ToolNotFound):
        await call(rig.pool, "new")

    assert rig.session.lists == 2
    assert not rig.session.calls


async def test_a_session_that_ended_by_itself_is_replaced(rig: Rig) -> None:
    await rig.list()
    rig.session.closed = True

    assert await rig.list() == 1
    assert rig.connector.attempts == 2


async def test_a_lost_session_closes_when_its_last_call_ends(rig: Rig) -> None:
    await rig.list()
    first = rig.session
    first.gate = asyncio.Event()
    running = asyncio.create_task(call(rig.pool, "t"))
    await settled()
    first.list_fails.append(NeverReached("was gone"))
    first.on_tools_changed()
    await rig.list()
    assert not first.closed

    first.gate.set()
    assert text_of(await running) == "from 1"
    await settled()
    assert first.closed


async def test_progress_is_passed_on_before_the_result(rig: Rig) -> None:
    await rig.list()
    rig.session.progress = [Progress(1), Progress(2, 2, "done")]

    progress, result = await events_of(rig.pool, "t")

    assert progress == [Progress(1), Progress(2, 2, "done")]
    assert text_of(result) == "from 1"


async def test_leaving_cancels_the_call_and_keeps_the_session(rig: Rig) -> None:
    await rig.list()
    rig.session.gate = asyncio.Event()
    waiting = asyncio.create_task(call(rig.pool, "t"))
    await settled()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert rig.session.cancelled == 1
    assert not rig.session.closed


async def test_the_session_unused_for_longest_makes_room() -> None:
    rig = Rig(max_sessions=2)
    for name in ("s", "b", "s", "c"):
        await rig.list(name)
    await settled()

    assert [session.closed for session in rig.connector.sessions] == [False, True, False]


async def test_sessions_in_use_make_no_room() -> None:
    rig = Rig(max_sessions=1)
    await rig.list("s")
    rig.session.gate = asyncio.Event()
    running = asyncio.create_task(call(rig.pool, "t"))
    await settled()
    with pytest.raises(Overloaded):
        await rig.list("b")

    rig.session.gate.set()
    await running
    assert await rig.list("b") == 1


async def test_unused_sessions_close_in_time(rig: Rig) -> None:
    await rig.list("s")
    rig.clock.now += 60
    await rig.list("b")
    rig.clock.now += 60
    rig.pool.close_idle()
    await settled()

    assert [session.closed for session in rig.connector.sessions] == [True, False]
    assert await rig.list("s") == 1


async def test_a_session_whose_tools_are_told_from_memory_is_in_use(rig: Rig) -> None:
    for _ in range(4):
        await rig.list()
        rig.clock.now += 40
        rig.pool.close_idle()
    await settled()

    assert [session.closed for session in rig.connector.sessions] == [False]


async def test_a_running_call_is_not_idle(rig: Rig) -> None:
    await rig.list()
    rig.session.gate = asyncio.Event()
    running = asyncio.create_task(call(rig.pool, "t"))
    await settled()
    rig.clock.now += 1000
    rig.pool.close_idle()
    rig.session.gate.set()

    assert text_of(await running) == "from 1"


async def test_closing_ends_attempts_and_sessions_and_takes_no_more(rig: Rig) -> None:
    await rig.list("b")
    rig.connector.gate.clear()
    waiting = asyncio.create_task(rig.list("s"))
    await settled()
    await rig.pool.close()

    with pytest.raises(McpServerUnavailable, match="is being disconnected"):
        await waiting
    with pytest.raises(Overloaded, match="shutting down"):
        await rig.list("c")
    assert rig.connector.sessions[0].closed


async def test_the_state_of_each_server_is_told_to_each_caller(rig: Rig) -> None:
    rig.connector.fails.append(ConnectFailed("is dead"))
    with pytest.raises(McpServerUnavailable):
        await rig.list("b")
    await rig.list("c")

    def states(principal: str) -> list[tuple[str, str, str, str]]:
        return [(s.server.name, s.status, s.error, s.protocol_version) for s in rig.pool.states(principal)]

    assert states("caller") == [
        ("s", "idle", "", ""),
        ("b", "unavailable", "The MCP server `b` is dead.", ""),
        ("c", "connected", "", "2025-11-25"),
    ]
    assert {status for _, status, _, _ in states("other")} == {"idle"}


async def test_a_list_is_remembered_for_as_long_as_the_server_or_the_settings_say(rig: Rig) -> None:
    await rig.list()
    rig.clock.now += 49
    await rig.list()
    assert rig.session.lists == 1

    rig.session.max_age = 5
    rig.clock.now += 1
    await rig.list()
    rig.clock.now += 5
    await rig.list()
    assert rig.session.lists == 3


async def test_a_change_is_heard_even_while_the_list_is_on_its_way(rig: Rig) -> None:
    async def change_in_the_middle() -> None:
        rig.session.on_tools_changed()

    await rig.list()
    rig.session.on_tools_changed()
    rig.session.listing = change_in_the_middle
    await rig.list()
    rig.session.listing = None
    await rig.list()
    await rig.list()

    assert rig.session.lists == 3
