"""Sessions over the older SSE transport, to which a server that refuses streamable HTTP falls back."""

import asyncio
from collections.abc import Callable

import pytest

from tests.tool.rig import Child, call, child, events_of, http, pool_of, text_of
from tests.tool.servers.minimal import MinimalServer
from trivet.kernel.errors import McpServerUnavailable
from trivet.tool_service.domain.targets import Target


@pytest.fixture
def server(showcases: Callable[[str], Child]) -> Child:
    return showcases("sse")


async def test_a_server_that_speaks_only_sse_is_used_all_the_same(server: Child) -> None:
    async with pool_of(http(server.url)) as pool:
        for number in range(20):
            assert text_of(await call(pool, "add", {"a": number, "b": 1})) == str(number + 1)
        progress, result = await events_of(pool, "steps", {"count": 2})

    assert len(progress) == 2
    assert text_of(result) == "done"
    seen = server.seen()
    assert seen["initialize"] == 2  # the first was posted to an endpoint that takes none
    assert seen["tools/list"] == 1


async def test_a_caller_who_leaves_cancels_the_call(server: Child) -> None:
    async with pool_of(http(server.url)) as pool:
        calling = asyncio.create_task(call(pool, "slow"))
        await server.until_seen("slow started")
        calling.cancel()
        await server.until_seen("slow cancelled")
        await asyncio.wait({calling})


async def test_a_restarted_server_is_found_again_without_asking_for_the_transport() -> None:
    with child("sse") as server:
        async with pool_of(http(server.url)) as pool:
            await call(pool, "add", {"a": 1, "b": 1})
            server.kill()
            server.start()

            async with asyncio.timeout(30):
                while (result := await call(pool, "add", {"a": 2, "b": 2})).is_error:
                    pass
            assert text_of(result) == "4"
            assert server.seen()["server/discover"] == 0


async def test_a_server_that_dies_in_the_middle_of_a_call_gives_a_failed_result() -> None:
    with child("sse") as server:
        async with pool_of(http(server.url)) as pool:
            calling = asyncio.create_task(call(pool, "slow"))
            await server.until_seen("slow started")
            server.kill()

            result = await calling
            assert result.is_error
            assert "was disconnected before it answered" in text_of(result)


async def test_where_both_transports_are_refused_the_first_refusal_is_told(minimal: MinimalServer) -> None:
    minimal.status = 405
    async with pool_of(http(minimal.url)) as pool:
        with pytest.raises(McpServerUnavailable, match="answered with HTTP 405"):
            await pool.list_tools(Target("s"), "caller")
