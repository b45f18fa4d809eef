"""The client behind `trivet models`, `tools` and `ask`."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from trivet.standalone.rest_client import GatewayError, RestClient, agent_request, open_rest_client

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def gateway(method: str, path: str, handler: Handler) -> AsyncIterator[RestClient]:
    app = web.Application()
    app.router.add_route(method, path, handler)
    async with TestServer(app) as server, open_rest_client(str(server.make_url("/")), "sk-1") as client:
        yield client


def answering(text: str, status: int = 200) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    return handler


async def test_models_are_asked_for_with_the_key() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer sk-1"
        return web.json_response({"object": "list", "data": [{"id": "a/b"}, {"id": "c/d"}]})

    async with gateway("GET", "/v1/models", handler) as client:
        assert await client.models() == ["a/b", "c/d"]


async def test_the_tools_of_a_server_with_a_slash_in_its_name_are_found() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"name": request.match_info["name"]}]})

    async with gateway("GET", "/v1/mcp/servers/{name}/tools", handler) as client:
        assert await client.tools("team/clock") == [{"name": "team/clock"}]


async def test_a_run_gives_its_chunks_until_done() -> None:
    body = ': heartbeat\n\ndata: {"choices":[]}\n\ndata: {"choices":[1]}\n\ndata: [DONE]\n\n'

    async with gateway("POST", "/v1/agent/responses", answering(body)) as client:
        assert [chunk async for chunk in client.run({})] == [{"choices": []}, {"choices": [1]}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('data: {"error":{"message":"the model failed"}}\n\ndata: [DONE]\n\n', "the model failed"),
        ('data: {"choices":[]}\n\n', "ended the stream in the middle"),
    ],
)
async def test_a_run_that_fails_in_the_middle_says_so(body: str, message: str) -> None:
    async with gateway("POST", "/v1/agent/responses", answering(body)) as client:
        with pytest.raises(GatewayError, match=message):
            _ = [chunk async for chunk in client.run({})]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"error":{"message":"no such model"}}', r"no such model \(404\)"),
        ("<html>", "answered with status 404"),
        ("[]", "answered with status 404"),
    ],
)
async def test_an_error_answer_is_told_in_its_own_words(body: str, message: str) -> None:
    async with gateway("GET", "/v1/models", answering(body, 404)) as client:
        with pytest.raises(GatewayError, match=message):
            await client.models()


async def test_a_gateway_that_is_not_there_is_told_with_its_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        async with open_rest_client(url, "sk-1") as client:
            with pytest.raises(GatewayError, match=f"no answer from {url}: "):
                await client.models()


def test_an_mcp_server_is_a_url_or_a_registered_name() -> None:
    assert agent_request("q", "m", ["clock", "http://h/mcp"])["mcp_servers"] == [
        {"integration_fqn": "clock"},
        {"url": "http://h/mcp"},
    ]
