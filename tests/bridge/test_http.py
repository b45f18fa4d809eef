"""HTTP itself, as the bridge speaks it: versions, connections, expectations, methods and paths."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.agent.neighbours import ScriptedModels, ScriptedTools, finish, role, text
from tests.bridge.rig import KEY, Rig, bridge
from tests.checkers.chat_stream import check_chat_sse

ANSWER = [role(), text("Hi."), finish("stop")]
RUN: dict[str, Any] = {"model": "lab/m", "messages": [{"role": "user", "content": "go"}]}
PATH = "/v1/agent/responses"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with bridge(ScriptedModels([ANSWER] * 20), ScriptedTools({"files": ["read"], "a/b c%": ["write"]})) as rig:
        yield rig


class Talk:
    """A connection of which the test sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, body: Any, *lines: str, version: str = "1.1") -> None:
        """Send a POST."""
        self.ask_to_wait(data := orjson.dumps(body), *lines, version=version)
        self.writer.write(data)

    def ask_to_wait(self, body: bytes, *lines: str, version: str = "1.1") -> None:
        """Send the head of a POST."""
        fixed = (f"Authorization: Bearer {KEY}", "Content-Type: application/json", f"Content-Length: {len(body)}", "Host: x")
        self.writer.write("\r\n".join((f"POST {PATH} HTTP/{version}", *fixed, *lines, "", "")).encode())

    async def head(self) -> tuple[str, dict[str, str]]:
        """The next status line, and the headers below it."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        return first, {name.lower(): value for name, value in pairs}


@asynccontextmanager
async def talk(rig: Rig) -> AsyncIterator[Talk]:
    host, port = rig.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(30):
        yield Talk(reader, writer)
    writer.close()


@pytest.mark.parametrize(
    ("version", "asked", "told"),
    [("1.1", "", None), ("1.1", "close", "close"), ("1.0", "", None), ("1.0", "keep-alive", "keep-alive")],
)
async def test_a_whole_answer_leaves_the_connection_as_its_client_wants_it(
    rig: Rig, version: str, asked: str, told: str | None
) -> None:
    async with talk(rig) as client:
        client.ask({**RUN, "stream": False}, *[f"Connection: {asked}"] * bool(asked), version=version)
        status, headers = await client.head()
        body = await client.reader.readexactly(int(headers["content-length"]))
        stays = told == "keep-alive" or (version == "1.1" and not told)
        if stays:
            client.ask({**RUN, "stream": False}, version=version)
            assert (await client.head())[0] == status
        else:
            assert await client.reader.read() == b""

    assert status == f"HTTP/{version} 200 OK"
    assert headers.get("connection") == told
    assert orjson.loads(body)["choices"][0]["message"]["content"] == "Hi."
    assert {"date", "server", "x-request-id", "server-timing"} <= set(headers)


async def test_a_stream_to_an_old_client_ends_with_its_connection(rig: Rig) -> None:
    async with talk(rig) as client:
        client.ask({**RUN, "stream": True}, "Connection: keep-alive", version="1.0")
        status, headers = await client.head()
        raw = await client.reader.read()

    assert status == "HTTP/1.0 200 OK"
    assert not {"transfer-encoding", "connection", "content-length"} & set(headers)
    assert check_chat_sse(raw, agent=True) == []


async def test_a_stream_leaves_the_connection_to_the_next_request(rig: Rig) -> None:
    async with talk(rig) as client:
        for _ in range(2):
            client.ask({**RUN, "stream": True})
            status, headers = await client.head()
            raw = await client.reader.readuntil(b"\r\n0\r\n\r\n")
            assert (status, headers["transfer-encoding"]) == ("HTTP/1.1 200 OK", "chunked")
            assert b"data: [DONE]\n\n" in raw


async def test_the_last_events_of_a_stream_leave_with_its_end(rig: Rig) -> None:
    async with talk(rig) as client:
        client.ask({**RUN, "stream": True})
        await client.head()
        raw = await client.reader.readuntil(b"\r\n0\r\n\r\n")

    # A write is a chunk of HTTP.
    last = raw.removesuffix(b"\r\n0\r\n\r\n").rpartition(b"\r\n")[2]
    assert b'"finish_reason":"stop"' in last
    assert last.endswith(b"data: [DONE]\n\n")


async def test_a_client_that_asks_whether_to_send_its_body_is_told_so(rig: Rig) -> None:
    body = orjson.dumps({**RUN, "stream": False})
    async with talk(rig) as client:
        client.ask_to_wait(body, "Expect: 100-continue")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(body)
        status, _ = await client.head()

    assert status == "HTTP/1.1 200 OK"


async def test_a_stranger_is_not_asked_for_the_body(rig: Rig) -> None:
    async with talk(rig) as client:
        client.writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n".encode())
        status, _ = await client.head()

    assert " 401 " in status


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", "/v1/responses", "GET, POST"),
        ("GET", "/v1/responses", "POST"),
        ("PATCH", "/v1/responses/resp_1", "DELETE, GET"),
        ("PUT", "/v1/responses/compact", "DELETE, GET, POST"),
        ("HEAD", "/v1/models", "GET"),
    ],
)
async def test_a_method_that_a_path_has_not_is_refused_with_those_that_it_has(
    rig: Rig, method: str, path: str, allowed: str
) -> None:
    async with rig.http.request(method, path) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)
        assert answer.headers["x-request-id"]
        assert await answer.read() == b"" if method == "HEAD" else (await answer.json())["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("page", ["/healthz", "/readyz", "/openapi.json", "/docs"])
async def test_the_head_of_a_page_may_be_asked_for(rig: Rig, page: str) -> None:
    async with rig.http.head(page) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("server", "tool"), [("files", "read"), ("f%69les", "read"), ("a%2Fb%20c%25", "write")], ids=["plain", "quoted", "with slash"]
)
async def test_a_variable_of_a_path_is_unquoted(rig: Rig, server: str, tool: str) -> None:
    status, body = await rig.get(f"/v1/mcp/servers/{server}/tools")

    assert (status, [each["name"] for each in body["data"]]) == (200, [tool])


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/mcp/servers//tools", "/v1/mcp/servers/a/b/tools", "/v2/models", "/v1/models/"]
)
async def test_what_is_nearly_a_path_is_none(rig: Rig, path: str) -> None:
    status, body = await rig.get(path)

    assert (status, body["error"]["code"]) == (404, "route_not_found")


async def test_a_path_may_be_quoted_and_have_a_query(rig: Rig) -> None:
    assert (await rig.get("/v1/mcp/servers/files/to%6Fls"))[0] == 200
    assert (await rig.get("/he%61lthz?now=1"))[0] == 200
    assert (await rig.get("/healthz?now=1"))[0] == 200
