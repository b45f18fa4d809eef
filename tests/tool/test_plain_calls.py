"""Calls over streamable HTTP, as servers answer them that do more than they must, or less."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tests.tool.rig import Child, call, events_of, http, pool_of, text_of
from tests.tool.servers.minimal import MinimalServer, Play
from trivet.tool_service.domain.targets import Target
from trivet.tool_service.domain.tools import Progress

Write = Callable[[web.StreamResponse, dict[str, Any]], Awaitable[None]]


def result(message: dict[str, Any], text: str = "ok", **more: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": text}], **more}}


def event(message: dict[str, Any], **fields: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return "\n".join([*lines, f"data: {json.dumps(message)}", "", ""]).encode()


def streamed(write: Write) -> Play:
    """A server that answers calls with a stream, which `write` writes."""

    async def play(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await write(response, message)
        return response

    return play


async def test_messages_are_read_however_their_bytes_arrive(minimal: MinimalServer) -> None:
    async def write(response: web.StreamResponse, message: dict[str, Any]) -> None:
        token = message["params"]["_meta"]["progressToken"]
        progress = {"progressToken": token, "progress": 1, "total": 2, "message": "half"}
        notification = {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}
        whole = b"\xef\xbb\xbf: hello\n\n" + event(notification).replace(b"\n", b"\r\n") + event(result(message), event="message")
        for position in range(len(whole)):
            await response.write(whole[position : position + 1])

    minimal.play = streamed(write)
    async with pool_of(http(minimal.url)) as pool:
        progress, got = await events_of(pool, "add")

    assert progress == [Progress(1, 2, "half")]
    assert text_of(got) == "ok"


async def test_what_a_server_asks_in_the_middle_of_a_call_is_answered(minimal: MinimalServer) -> None:
    methods = ["ping", "elicitation/create", "sampling/createMessage", "roots/list", "sing"]

    async def write(response: web.StreamResponse, message: dict[str, Any]) -> None:
        for number, method in enumerate(methods):
            await response.write(event({"jsonrpc": "2.0", "id": f"q{number}", "method": method}))
        log = {"level": "info", "data": "still here"}
        await response.write(event({"jsonrpc": "2.0", "method": "notifications/message", "params": log}))
        await response.write(event(result(message)))

    minimal.play = streamed(write)
    async with pool_of(http(minimal.url)) as pool:
        assert text_of(await call(pool, "add")) == "ok"

    answers = {said["id"]: said.get("result", said.get("error")) for said in minimal.posted if "method" not in said}
    assert answers == {
        "q0": {},
        "q1": {"code": -32600, "message": "Elicitation not supported"},
        "q2": {"code": -32600, "message": "Sampling not supported"},
        "q3": {"code": -32600, "message": "List roots not supported"},
        "q4": {"code": -32601, "message": "Method not found"},
    }


async def test_a_change_of_tools_that_is_told_in_a_call_is_heard(minimal: MinimalServer) -> None:
    async def write(response: web.StreamResponse, message: dict[str, Any]) -> None:
        await response.write(event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}) + event(result(message)))

    minimal.play = streamed(write)
    async with pool_of(http(minimal.url)) as pool:
        await call(pool, "add")
        await call(pool, "add")

    assert minimal.seen["tools/list"] == 2


async def test_a_stream_that_breaks_off_goes_on_where_it_was(minimal: MinimalServer) -> None:
    calls: list[dict[str, Any]] = []

    async def write(response: web.StreamResponse, message: dict[str, Any]) -> None:
        calls.append(message)
        await response.write(b"id: first\nretry: 1\ndata:\n\n")

    async def resume(request: web.Request) -> web.StreamResponse:
        if "Last-Event-ID" not in request.headers:
            return web.Response(status=405)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if request.headers["Last-Event-ID"] == "first":
            await response.write(event({"jsonrpc": "2.0", "method": "notifications/message"}, id="second"))
        else:
            await response.write(event(result(calls[0], request.headers["Last-Event-ID"])))
        return response

    minimal.play, minimal.resume = streamed(write), resume
    async with pool_of(http(minimal.url)) as pool:
        assert text_of(await call(pool, "add")) == "second"

    assert len(calls) == 1


async def test_a_stream_that_cannot_go_on_gives_a_failed_result(minimal: MinimalServer) -> None:
    async def write(response: web.StreamResponse, message: dict[str, Any]) -> None:
        await response.write(b"id: first\nretry: 1\ndata:\n\n" if message["params"]["arguments"] else b": nothing\n\n")

    minimal.play = streamed(write)
    async with pool_of(http(minimal.url)) as pool:
        for arguments in ({}, {"a": 1}):
            got = await call(pool, "add", arguments)
            assert got.is_error
            assert "was disconnected before it answered" in text_of(got)

    assert minimal.seen["tools/call"] == 2


async def test_a_call_that_is_redirected_is_made_where_the_server_is_now(minimal: MinimalServer) -> None:
    async def play(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        if request.path == "/mcp":
            return web.Response(status=307, headers={"Location": "/moved"})
        return web.json_response(result(message, request.path))

    minimal.play = play
    async with pool_of(http(minimal.url)) as pool:
        assert text_of(await call(pool, "add")) == "/moved"


async def test_a_cookie_is_sent_from_then_on(minimal: MinimalServer) -> None:
    async def play(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        response = web.json_response(result(message, request.headers.get("Cookie", "none")))
        response.set_cookie("shard", "7")
        return response

    minimal.play = play
    async with pool_of(http(minimal.url)) as pool:
        said = [text_of(await call(pool, "add")) for _ in range(3)]

    assert said[0] == "none"
    assert said[2] == "shard=7"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: web.Response(status=202), "something that is not MCP"),
        (lambda _: web.Response(text="hello"), "something that is not MCP"),
        (lambda _: web.json_response([1]), "something that is not MCP"),
        (lambda _: web.json_response({"jsonrpc": "2.0", "id": 1}), "something that is not MCP"),
        (lambda _: web.Response(status=500), "answered with HTTP 500"),
        (lambda _: web.json_response({}, headers={"Content-Encoding": "odd"}), "an encoding that was not asked for"),
        (lambda m: web.json_response({"jsonrpc": "2.0", "id": m["id"], "error": {"code": 1, "message": "no"}}), "an error: no"),
        (lambda m: web.json_response({"jsonrpc": "2.0", "id": m["id"], "result": {"content": "no list"}}), "is not valid"),
        (lambda m: web.json_response({"jsonrpc": "2.0", "id": m["id"], "result": {}}), "is not valid"),
        (lambda m: web.json_response(result(m, "x" * 100_000)), "more than 65536 bytes"),
    ],
)
async def test_an_answer_that_is_of_no_use_is_told(minimal: MinimalServer, answer: Any, said: str) -> None:
    async def play(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        response = answer(message)
        assert isinstance(response, web.StreamResponse)
        return response

    minimal.play = play
    async with pool_of(http(minimal.url), max_result_bytes=65536) as pool:
        got = await call(pool, "add")
        assert got.is_error
        assert said in text_of(got)

        minimal.play = None
        assert text_of(await call(pool, "add", {"a": 1, "b": 1})) == "2"


async def test_an_event_that_is_too_large_is_told(minimal: MinimalServer) -> None:
    async def write(response: web.StreamResponse, message: dict[str, Any]) -> None:
        await response.write(event(result(message, "x" * 100_000)))

    minimal.play = streamed(write)
    async with pool_of(http(minimal.url), max_result_bytes=65536) as pool:
        assert "sent more than 65536 bytes" in text_of(await call(pool, "add"))


@pytest.mark.parametrize(
    ("structured", "valid"),
    [({"n": 1}, True), ({"n": 1.0}, True), ({"n": "1"}, False), ({}, False), (None, False)],
)
async def test_a_structured_result_is_what_the_tool_promises(
    minimal: MinimalServer, structured: dict[str, object] | None, valid: bool
) -> None:
    promise = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    minimal.answers["tools/list"] = {"tools": [{"name": "add", "inputSchema": {"type": "object"}, "outputSchema": promise}]}

    async def play(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(result(message, **({} if structured is None else {"structuredContent": structured})))

    minimal.play = play
    async with pool_of(http(minimal.url)) as pool:
        got = await call(pool, "add")

    assert got.is_error is not valid
    assert valid or "is not valid" in text_of(got)


async def test_integers_of_any_size_pass_both_ways(minimal: MinimalServer) -> None:
    large = 2**70

    async def play(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        structured = {"n": message["params"]["arguments"]["a"]}
        return web.json_response(result(message, structuredContent=structured))

    minimal.play = play
    async with pool_of(http(minimal.url)) as pool:
        assert (await call(pool, "add", {"a": large})).structured == f'{{"n":{large}}}'


async def test_an_argument_that_travels_as_a_header_does_so(showcase: Child) -> None:
    async with pool_of(http(showcase.url)) as pool:
        assert text_of(await call(pool, "where", {"region": "north"})) == "north"


async def test_a_tool_that_has_changed_unsaid_is_called_all_the_same(showcase: Child) -> None:
    async with pool_of(http(showcase.url)) as pool:
        await pool.list_tools(Target("s"), "caller")
        await call(pool, "rewrite")

        for region in ("north", "south"):
            assert text_of(await call(pool, "where_else", {"region": region})) == region
