"""Sessions over streamable HTTP, against servers that are real."""

import asyncio
import json
from contextlib import AsyncExitStack, aclosing
from functools import partial

import pytest
from aiohttp import web

from tests.tool.rig import Child, call, child, events_of, http, pool_of, text_of
from tests.tool.servers.minimal import MinimalServer, minimal_server
from trivet.kernel.errors import McpServerUnavailable, RequestTimeout, ToolNotFound
from trivet.tool_service.domain.relayed_progress import relayed
from trivet.tool_service.domain.targets import Target
from trivet.tool_service.domain.tools import Media, Other, Progress, ResourceLink, Text, ToolCall


async def test_a_hundred_calls_cost_one_handshake_and_one_list(minimal: MinimalServer) -> None:
    async with pool_of(http(minimal.url)) as pool:
        for number in range(100):
            await pool.list_tools(Target("s"), "caller")
            assert text_of(await call(pool, "add", {"a": number, "b": 1})) == str(number + 1)

    assert minimal.seen["initialize"] == 1
    assert minimal.seen["tools/list"] == 1
    assert minimal.seen["tools/call"] == 100


async def test_everything_that_a_server_can_do_works_in_each_era(showcase: Child) -> None:
    async with pool_of(http(showcase.url)) as pool:
        tools = {tool.name: tool for tool in (await pool.list_tools(Target("s"), "caller")).tools}
        assert tools["add"].description == "Add two integers."
        assert json.loads(tools["add"].input_schema)["required"] == ["a", "b"]
        assert json.loads(tools["point"].output_schema)["required"] == ["x", "y"]

        assert text_of(await call(pool, "add", {"a": 2, "b": 3})) == "5"
        structured = (await call(pool, "point", {"x": 1, "y": 2})).structured
        assert structured == '{"x":1,"y":2}'
        failed = await call(pool, "fail", {"why": "no luck"})
        assert failed.is_error
        assert "no luck" in text_of(failed)

    seen = showcase.seen()
    assert seen["tools/list"] == 1
    assert seen["initialize"] <= 1


async def test_content_of_every_kind_arrives(showcase: Child) -> None:
    async with pool_of(http(showcase.url)) as pool:
        text, image, audio, link, resource = (await call(pool, "gallery")).content

    assert text == Text("a text")
    assert image == Media("image", "iVBORw==", "image/png")
    assert audio == Media("audio", "UklGRg==", "audio/wav")
    assert link == ResourceLink("file:///a.txt", "a.txt", mime_type="text/plain")
    assert isinstance(resource, Other)
    assert json.loads(resource.json)["resource"]["text"] == "inside"


async def test_progress_arrives_before_the_result(streaming: Child) -> None:
    async with pool_of(http(streaming.url)) as pool:
        progress, result = await events_of(pool, "steps", {"count": 3})

    assert progress == [Progress(n, 3, f"step {n}") for n in (1, 2, 3)]
    assert text_of(result) == "done"


async def test_leaving_a_call_cancels_it_at_the_server(showcase: Child) -> None:
    async with pool_of(http(showcase.url)) as pool:

        async def listen() -> None:
            await call(pool, "slow")

        calling = asyncio.create_task(listen())
        await showcase.until_seen("slow started")
        calling.cancel()
        await asyncio.wait({calling})
        await showcase.until_seen("slow cancelled")

        assert text_of(await call(pool, "add", {"a": 1, "b": 1})) == "2"


async def test_closing_the_events_cancels_the_call(streaming: Child) -> None:
    async with pool_of(http(streaming.url)) as pool:
        async with aclosing(relayed(partial(pool.call, Target("s"), "caller", ToolCall("slow", {})))) as events:
            async for event in events:
                assert isinstance(event, tuple)
                break
        await streaming.until_seen("slow cancelled")


async def test_a_call_that_takes_too_long_is_cancelled_and_says_so(showcase: Child) -> None:
    async with pool_of(http(showcase.url)) as pool:
        with pytest.raises(RequestTimeout, match=r"`s` did not answer within 0.5 s"):
            await call(pool, "slow", timeout=0.5)
        await showcase.until_seen("slow cancelled")


async def test_a_server_that_ignores_cancellation_loses_the_connection(minimal: MinimalServer) -> None:
    async with pool_of(http(minimal.url)) as pool:
        calling = asyncio.create_task(call(pool, "hang"))
        await minimal.until(lambda: minimal.hanging == 1)
        calling.cancel()
        await minimal.until(lambda: minimal.hanging == 0)

        assert minimal.seen["notifications/cancelled"] == 1
        await asyncio.wait({calling})


@pytest.mark.parametrize("kind", ["http", "legacy", "json"])
async def test_a_restarted_server_is_found_again(kind: str) -> None:
    with child(kind) as showcase:
        async with pool_of(http(showcase.url)) as pool:
            await call(pool, "add", {"a": 1, "b": 1})
            showcase.kill()
            showcase.start()

            assert text_of(await call(pool, "add", {"a": 2, "b": 2})) == "4"
            showcase.kill()
            showcase.start()

            assert (await pool.list_tools(Target("s"), "caller")).tools


async def test_a_call_to_a_server_that_went_down_was_surely_not_made() -> None:
    async with AsyncExitStack() as up:
        server = await up.enter_async_context(minimal_server())
        async with pool_of(http(server.url)) as pool:
            await call(pool, "add")
            await up.aclose()

            with pytest.raises(McpServerUnavailable, match="cannot be reached"):
                await call(pool, "add")


async def test_a_server_that_is_down_is_named_and_found_when_it_is_up() -> None:
    async with minimal_server() as first:
        port = first.port
    async with pool_of(http(f"http://127.0.0.1:{port}/mcp")) as pool:
        with pytest.raises(McpServerUnavailable, match=r"The MCP server `s` cannot be reached\.") as caught:
            await pool.list_tools(Target("s"), "caller")
        assert caught.value.metadata == {"server": "s"}
        assert str(port) not in caught.value.message
        assert pool.states("caller")[0].status == "unavailable"

        async with minimal_server(port=port), asyncio.timeout(30):
            while True:
                try:
                    await pool.list_tools(Target("s"), "caller")
                    break
                except McpServerUnavailable:
                    await asyncio.sleep(0.05)
            assert text_of(await call(pool, "add", {"a": 1, "b": 1})) == "2"
            assert pool.states("caller")[0].status == "connected"


@pytest.mark.parametrize("body", [None, {"code": -32000, "message": "Bad Request: No valid session ID provided"}])
async def test_an_expired_session_is_opened_again_and_the_call_made_once(
    minimal: MinimalServer, body: dict[str, object] | None
) -> None:
    minimal.sessions = set()
    if body is not None:
        minimal.refusal = lambda: web.json_response({"jsonrpc": "2.0", "id": None, "error": body}, status=400)
    async with pool_of(http(minimal.url)) as pool:
        await call(pool, "add", {"a": 1, "b": 1})
        minimal.sessions.clear()

        assert text_of(await call(pool, "add", {"a": 2, "b": 1})) == "3"
        assert minimal.seen["initialize"] == 2
        assert minimal.seen["server/discover"] == 1  # the era is remembered

        minimal.sessions.clear()
        assert len((await pool.list_tools(Target("s"), "caller")).tools) == 2


async def test_a_call_that_may_have_been_executed_is_not_repeated(minimal: MinimalServer) -> None:
    async with pool_of(http(minimal.url)) as pool:
        await pool.list_tools(Target("s"), "caller")
        minimal.answers["tools/call"] = ConnectionError

        result = await call(pool, "add")

        assert result.is_error
        assert "closed the connection without an answer" in text_of(result)
        assert minimal.seen["tools/call"] == 1

        del minimal.answers["tools/call"]
        assert text_of(await call(pool, "add", {"a": 1, "b": 1})) == "2"


async def test_a_list_that_was_lost_is_asked_for_again(minimal: MinimalServer) -> None:
    async with pool_of(http(minimal.url)) as pool:
        minimal.answers["tools/list"] = ConnectionError
        with pytest.raises(McpServerUnavailable, match="closed the connection"):
            await pool.list_tools(Target("s"), "caller")

    assert minimal.seen["tools/list"] == 2


async def test_a_changed_tool_list_is_asked_for_again(streaming: Child) -> None:
    async with pool_of(http(streaming.url)) as pool:
        before = {tool.name for tool in (await pool.list_tools(Target("s"), "caller")).tools}
        await streaming.until_seen("subscriptions/listen" if streaming.kind == "http" else "notifications/initialized")
        await call(pool, "grow", {"name": "grown"})

        async with asyncio.timeout(30):
            while (now := {tool.name for tool in (await pool.list_tools(Target("s"), "caller")).tools}) == before:
                await asyncio.sleep(0.02)
        assert now - before == {"grown"}
        assert text_of(await call(pool, "grown")) == "new"


async def test_a_tool_that_the_server_lacks_is_not_found(minimal: MinimalServer) -> None:
    async with pool_of(http(minimal.url)) as pool:
        with pytest.raises(ToolNotFound) as caught:
            await call(pool, "sub")

    assert caught.value.param == "tool"
    assert minimal.seen["tools/call"] == 0


async def test_a_question_to_the_user_is_declined(showcase: Child) -> None:
    async with pool_of(http(showcase.url)) as pool:
        result = await call(pool, "ask")

    assert result.is_error


async def test_a_result_that_is_too_large_is_an_error_that_the_model_can_read(showcase: Child) -> None:
    async with pool_of(http(showcase.url), max_result_bytes=64 * 1024) as pool:
        result = await call(pool, "big", {"size": 200_000})
        assert result.is_error

        assert len(text_of(await call(pool, "big", {"size": 20_000}))) == 20_000


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "refused the credentials with HTTP 401"), (500, "answered with HTTP 500"), (404, "answered with HTTP 404")],
)
async def test_an_http_error_is_told(minimal: MinimalServer, status: int, message: str) -> None:
    minimal.status = status
    async with pool_of(http(minimal.url)) as pool:
        with pytest.raises(McpServerUnavailable, match=message):
            await pool.list_tools(Target("s"), "caller")


@pytest.mark.parametrize("answer", [{"tools": "none"}, {"nothing": 1}])
async def test_an_answer_that_is_not_mcp_is_told(minimal: MinimalServer, answer: object) -> None:
    minimal.answers["tools/list"] = answer
    async with pool_of(http(minimal.url)) as pool:
        with pytest.raises(McpServerUnavailable, match="in a form that MCP does not know"):
            await pool.list_tools(Target("s"), "caller")


async def test_a_page_that_is_no_mcp_server_is_told(minimal: MinimalServer) -> None:
    minimal.answers["server/discover"] = web.Response(text="<html>", content_type="text/html")
    minimal.answers["initialize"] = web.Response(text="<html>", content_type="text/html")
    async with pool_of(http(minimal.url)) as pool:
        with pytest.raises(McpServerUnavailable, match="refused the session"):
            await pool.list_tools(Target("s"), "caller")


async def test_headers_reach_the_server_and_requests_override_them(showcase: Child) -> None:
    async with pool_of(http(showcase.url, **{"X-Team": "blue", "Authorization": "Bearer own"})) as pool:
        assert text_of(await call(pool, "header", {"name": "x-team"})) == "blue"
        assert text_of(await call(pool, "header", {"name": "authorization"})) == "Bearer own"

        mine = Target("s", headers={"authorization": "Bearer mine"})
        assert text_of(await call(pool, "header", {"name": "authorization"}, target=mine)) == "Bearer mine"
        assert text_of(await call(pool, "header", {"name": "x-team"}, target=mine)) == "blue"


async def test_callers_and_credentials_never_share_a_session(minimal: MinimalServer) -> None:
    minimal.sessions = set()
    async with pool_of(http(minimal.url)) as pool:
        for _ in range(2):
            await call(pool, "add", principal="a")
            await call(pool, "add", principal="b")
            await call(pool, "add", principal="a", target=Target("s", headers={"authorization": "Bearer x"}))

    used = [headers.get("mcp-session-id") for headers in minimal.headers if "mcp-session-id" in headers]
    assert len(set(used)) == 3
    assert minimal.seen["initialize"] == 3


async def test_calls_run_side_by_side_in_one_session(minimal: MinimalServer) -> None:
    async with pool_of(http(minimal.url)) as pool:
        hanging = [asyncio.create_task(call(pool, "hang")) for _ in range(5)]
        await minimal.until(lambda: minimal.hanging == 5)

        assert text_of(await call(pool, "add", {"a": 1, "b": 2})) == "3"
        assert minimal.seen["initialize"] == 1

        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)


async def test_closing_the_pool_ends_running_calls_with_a_failed_result(minimal: MinimalServer) -> None:
    async with pool_of(http(minimal.url)) as pool:
        calling = asyncio.create_task(call(pool, "hang"))
        await minimal.until(lambda: minimal.hanging == 1)
        await pool.close()

        result = await calling
        assert result.is_error
        await minimal.until(lambda: minimal.hanging == 0)
