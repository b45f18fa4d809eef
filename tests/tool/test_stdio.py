"""Programs that speak MCP over stdin and stdout."""

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tool.rig import SHOWCASE, call, events_of, pool_of, stdio, text_of
from trivet.kernel.errors import InvalidRequest, McpServerUnavailable
from trivet.tool_service.domain.targets import McpServer, Target

SERVER = stdio(sys.executable, str(SHOWCASE), "stdio")

# Answers the handshake alone, and ends at whatever else comes first, as some programs of that era do.
OLD = """
import json, sys
def answer(m, r): print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
m = json.loads(input())
if m["method"] != "initialize": sys.exit(3)
answer(m, {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}})
for line in sys.stdin:
    m = json.loads(line)
    if m["method"] == "tools/list": answer(m, {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]})
"""

# A parent that starts a child bound to it, says which, and waits to be killed.
PARENT = """
import subprocess, sys
from trivet.kernel import parent_death
child = subprocess.Popen(parent_death.bound(sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"),
                         stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
input()
"""


async def gone(pid: int) -> None:
    """Wait, within a bound, until no process has this id."""
    async with asyncio.timeout(30):
        with suppress(FileNotFoundError, ProcessLookupError):  # the latter if it goes while it is read
            while "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1]:
                await asyncio.sleep(0.02)


async def test_the_time_server_tells_the_time() -> None:
    async with pool_of(stdio("mcp-server-time", "--local-timezone", "UTC")) as pool:
        names = [tool.name for tool in (await pool.list_tools(Target("s"), "caller")).tools]
        result = await call(pool, "get_current_time", {"timezone": "UTC"})

    assert names == ["get_current_time", "convert_time"]
    assert json.loads(text_of(result))["timezone"] == "UTC"


async def test_one_process_serves_all_calls_of_a_caller_and_ends_with_the_pool() -> None:
    async with pool_of(SERVER) as pool:
        pids = {int(text_of(await call(pool, "pid"))) for _ in range(10)}
        other = int(text_of(await call(pool, "pid", principal="other")))
        progress, _ = await events_of(pool, "steps", {"count": 3})

    assert len(pids) == 1
    assert other not in pids
    assert len(progress) == 3
    for pid in (*pids, other):
        await gone(pid)


async def test_a_child_killed_in_the_middle_of_a_call_fails_the_call_and_starts_again() -> None:
    async with pool_of(SERVER) as pool:
        pid = int(text_of(await call(pool, "pid")))
        calling = asyncio.create_task(events_of(pool, "slow"))
        await asyncio.wait_for(call(pool, "add", {"a": 1, "b": 1}), 10)
        os.kill(pid, signal.SIGKILL)

        _, result = await calling
        assert result.is_error
        assert text_of(result) == "The MCP server `s` was disconnected before it answered."
        assert int(text_of(await call(pool, "pid"))) != pid


async def test_a_child_that_died_between_calls_is_not_noticed() -> None:
    async with pool_of(SERVER) as pool:
        pid = int(text_of(await call(pool, "pid")))
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        async with asyncio.timeout(30):
            while pool.states("caller")[0].status == "connected":
                await asyncio.sleep(0.01)

        assert int(text_of(await call(pool, "pid"))) != pid


async def test_a_program_that_ends_at_an_unknown_message_gets_the_handshake() -> None:
    async with pool_of(stdio(sys.executable, "-c", OLD)) as pool:
        assert [tool.name for tool in (await pool.list_tools(Target("s"), "caller")).tools] == ["t"]
        assert pool.states("caller")[0].protocol_version == "2024-11-05"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("no-such-program",), "could not be started"),
        (("true",), "closed the connection while the session was being opened"),
        (("cat",), "did not answer within 1 s|refused the session|does not speak MCP"),
    ],
)
async def test_a_program_that_is_no_server_is_told(command: tuple[str, ...], message: str) -> None:
    server = McpServer("s", stdio(*command).endpoint, connect_timeout=1)
    async with pool_of(server) as pool:
        with pytest.raises(McpServerUnavailable, match=message):
            await pool.list_tools(Target("s"), "caller")


async def test_stderr_goes_to_the_debug_log_and_not_to_the_console(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, logger="trivet.tool_service.adapters.mcp_stdio")
    async with pool_of(SERVER) as pool:
        await call(pool, "whisper", {"text": "a secret word"})
        async with asyncio.timeout(30):
            while "s: a secret word" not in caplog.messages:
                await asyncio.sleep(0.01)

    assert capfd.readouterr().err == ""


async def test_the_program_sees_its_own_environment_and_not_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OUR_SECRET", "x")
    caplog.set_level(logging.DEBUG, logger="trivet.tool_service.adapters.mcp_stdio")
    code = "import os, sys; print(sorted(os.environ.items()), file=sys.stderr)"
    async with pool_of(stdio(sys.executable, "-c", code, THEIRS="y")) as pool:
        with pytest.raises(McpServerUnavailable):
            await pool.list_tools(Target("s"), "caller")

    said = "\n".join(caplog.messages)
    assert "THEIRS" in said
    assert "OUR_SECRET" not in said


async def test_a_program_takes_no_headers() -> None:
    async with pool_of(SERVER) as pool:
        with pytest.raises(InvalidRequest) as caught:
            await pool.list_tools(Target("s", headers={"x": "y"}, param="server"), "caller")

    assert caught.value.param == "server.headers"


async def test_children_die_with_a_parent_that_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    parent.kill()
    await parent.communicate()

    await gone(child)
