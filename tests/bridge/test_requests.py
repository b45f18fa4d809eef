"""Requests through the bridge: routes, keys, bodies, and the shape of every refusal."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.agent.neighbours import ScriptedModels, ScriptedTools, finish, role, text
from tests.bridge.rig import KEY, Rig, bridge
from trivet.bridge.contract import BASE_PATHS, routes
from trivet.bridge.settings import BridgeSettings, CorsSettings

ANSWER = [role(), text("Hi."), finish("stop")]
RUN = {"model": "lab/m", "messages": [{"role": "user", "content": "go"}]}
PATH = "/api/llm/agent/responses"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with bridge(ScriptedModels([ANSWER] * 200), ScriptedTools({"files": ["read"]})) as rig:
        yield rig


def assert_error(answer: tuple[int, Any], status: int, param: str | None, code: str | None = None) -> None:
    """The answer is the contract's error body, and leaks nothing internal."""
    assert answer[0] == status, answer
    error = answer[1]["error"]
    assert set(answer[1]) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    assert isinstance(error["message"], str)
    assert error["message"]
    assert code is None or error["code"] == code
    assert not any(leak in error["message"] for leak in ("Traceback", "trivet.", "pb2", "/services/", "object at 0x"))


def test_the_contract_has_these_routes() -> None:
    assert {(route.method, route.path) for route in routes()} == {
        ("POST", "/responses"),
        ("GET", "/responses/{response_id}"),
        ("DELETE", "/responses/{response_id}"),
        ("POST", "/responses/{response_id}/cancel"),
        ("GET", "/responses/{response_id}/input_items"),
        ("POST", "/responses/input_tokens"),
        ("POST", "/responses/compact"),
        ("POST", "/conversations"),
        ("GET", "/conversations/{conversation_id}"),
        ("POST", "/conversations/{conversation_id}"),
        ("DELETE", "/conversations/{conversation_id}"),
        ("POST", "/conversations/{conversation_id}/items"),
        ("GET", "/conversations/{conversation_id}/items"),
        ("GET", "/conversations/{conversation_id}/items/{item_id}"),
        ("DELETE", "/conversations/{conversation_id}/items/{item_id}"),
        ("POST", "/chat/completions"),
        ("POST", "/audio/transcriptions"),
        ("POST", "/audio/translations"),
        ("POST", "/audio/speech"),
        ("GET", "/usage"),
        ("GET", "/usage/calls"),
        ("POST", "/embeddings"),
        ("POST", "/rerank"),
        ("POST", "/v2/rerank"),
        ("POST", "/moderations"),
        ("GET", "/models"),
        ("GET", "/models/{model=**}"),
        ("POST", "/agent/responses"),
        ("POST", "/agent/chat/completions"),
        ("GET", "/mcp/servers"),
        ("POST", "/embeddings"),
        ("POST", "/rerank"),
        ("POST", "/v2/rerank"),
        ("POST", "/moderations"),
        ("POST", "/messages"),
        ("POST", "/messages/count_tokens"),
        ("GET", "/mcp/servers/{server.name}/tools"),
    }


@pytest.mark.parametrize("base", BASE_PATHS)
@pytest.mark.parametrize("path", ["/agent/responses", "/agent/chat/completions"])
async def test_a_run_is_served_under_both_bases_and_its_alias(rig: Rig, base: str, path: str) -> None:
    status, body = await rig.post(base + path, {**RUN, "stream": False})

    assert (status, body["object"], body["choices"][0]["message"]["content"]) == (200, "chat.completion", "Hi.")


async def test_chat_completions_with_mcp_servers_is_a_run(rig: Rig) -> None:
    body = {**RUN, "mcp_servers": [{"integration_fqn": "files"}], "stream": False}

    status, answer = await rig.post("/v1/chat/completions", body)

    assert (status, answer["run"]["stopped_by"]) == (200, "model")


async def test_a_path_variable_reaches_its_field(rig: Rig) -> None:
    status, body = await rig.get("/v1/mcp/servers/files/tools")

    assert (status, [tool["name"] for tool in body["data"]]) == (200, ["read"])
    assert body["data"][0]["input_schema"] == {"type": "object"}
    assert_error(await rig.get("/v1/mcp/servers/nothing/tools"), 404, "server.name", "mcp_server_not_found")


async def test_every_answer_has_a_request_id_and_the_callers_own_is_kept(rig: Rig) -> None:
    async with rig.http.post(PATH, json=RUN, headers={"X-Request-Id": "mine-1"}) as answer:
        assert answer.headers["x-request-id"] == "mine-1"
    async with rig.http.post(PATH, data=b"{", headers={"Content-Type": "application/json"}) as answer:
        assert answer.headers["x-request-id"].startswith("req_")
    async with rig.http.get("/nowhere", headers={"X-Request-Id": "two words"}) as answer:
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "missing_api_key"),
        ("Basic abc", "missing_api_key"),
        ("Bearer", "missing_api_key"),
        ("Bearer wrong", "invalid_api_key"),
        (f"Bearer {KEY} ", None),
        (f"bearer {KEY}", None),
    ],
)
async def test_nothing_is_served_without_a_key(rig: Rig, header: str, code: str | None) -> None:
    answer = await rig.post(PATH, {**RUN, "stream": False}, headers={"Authorization": header})

    if code is None:
        assert answer[0] == 200
    else:
        assert_error(answer, 401, None, code)


async def test_a_key_may_come_as_anthropics_clients_send_it(rig: Rig) -> None:
    status, _ = await rig.post(PATH, {**RUN, "stream": False}, headers={"Authorization": "", "x-api-key": KEY})
    assert status == 200
    refused = await rig.post(PATH, RUN, headers={"Authorization": "Bearer wrong", "x-api-key": KEY})
    assert_error(refused, 401, None, "invalid_api_key")


async def test_a_stranger_is_refused_before_the_body_is_judged(rig: Rig) -> None:
    answer = await rig.post(PATH, data=b"{never", headers={"Authorization": "Bearer wrong"})

    assert_error(answer, 401, None, "invalid_api_key")


async def test_unknown_paths_and_methods_are_refused_in_shape(rig: Rig) -> None:
    assert_error(await rig.get("/v1/nothing"), 404, None, "route_not_found")
    assert_error(await rig.get(PATH), 405, None, "method_not_allowed")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_what_is_not_json_is_refused(rig: Rig, content_type: str) -> None:
    answer = await rig.post(PATH, data=orjson.dumps(RUN), headers={"Content-Type": content_type})

    assert_error(answer, 415, None)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "nonsense"])
async def test_a_compressed_body_is_refused_unopened(rig: Rig, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}

    assert_error(await rig.post(PATH, data=gzip.compress(bytes(10**8)), headers=headers), 415, None)


async def test_a_body_that_is_not_said_to_be_packed_is_read(rig: Rig) -> None:
    status, _ = await rig.post(PATH, {**RUN, "stream": False}, headers={"Content-Encoding": "identity"})

    assert status == 200


async def test_a_body_that_does_not_arrive_is_refused_in_time() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with bridge(ScriptedModels([]), ScriptedTools({}), BridgeSettings(body_seconds=0.05)) as rig:
        answer = await rig.post(PATH, data=never(), headers={"Content-Type": "application/json"})

    assert_error(answer, 408, None, "request_timeout")


async def spoken(rig: Rig, head: str, body: bytes = b"") -> tuple[int, Any]:
    """The status and the JSON that answer bytes which no client library would send; the body follows when the head was read."""
    host, port = rig.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(30):
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{head}\r\n\r\n".encode())
        for piece in (body[:3], body[3:]):
            await writer.drain()
            await rig.get("/v1/models")
            writer.write(piece)
        status = int((await reader.readline()).split()[1])
        headers = await reader.readuntil(b"\r\n\r\n")
        size = int(headers.lower().partition(b"content-length:")[2].split()[0])
        answer = await reader.readexactly(size)
    writer.close()
    return status, orjson.loads(answer) if answer.startswith(b"{") else answer


async def test_a_body_framed_otherwise_than_it_says_holds_nobody_forever() -> None:
    head = "Content-Type: application/json\r\nTransfer-Encoding: chunked"
    async with bridge(ScriptedModels([]), ScriptedTools({}), BridgeSettings(body_seconds=0.2)) as rig:
        answer = await spoken(rig, head, b"2\r\n{}and more")

    assert_error(answer, 408, None, "request_timeout")


async def test_an_expectation_that_nobody_knows_is_refused_with_an_answer(rig: Rig) -> None:
    status, _ = await spoken(rig, "Expect: 200-maybe\r\nContent-Length: 0")

    assert status == 417


async def test_a_body_over_the_limit_is_refused_and_the_next_is_served() -> None:
    async with bridge(ScriptedModels([ANSWER]), ScriptedTools({}), BridgeSettings(max_body_bytes=2048)) as rig:
        large = {**RUN, "messages": [{"role": "user", "content": "x" * 4096}]}
        assert_error(await rig.post(PATH, large), 413, None, "payload_too_large")
        assert (await rig.post(PATH, {**RUN, "stream": False}))[0] == 200


@pytest.mark.parametrize("name", ["x-trivet-request-timeout", "x-tfy-request-timeout"])
@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5", "9" * 11, "9" * 400, "9" * 5000])
async def test_a_timeout_that_is_none_is_refused(rig: Rig, name: str, value: str) -> None:
    assert_error(await rig.post(PATH, RUN, headers={name: value}), 400, "x-trivet-request-timeout")


@pytest.mark.parametrize("name", ["x-trivet-a!", "x-trivet-a-bin", "x-tfy-a*"])
async def test_a_header_that_grpc_cannot_carry_is_refused(rig: Rig, name: str) -> None:
    assert_error(await rig.post(PATH, RUN, headers={name: "text"}), 400, name)


async def test_headers_that_are_large_together_are_refused(rig: Rig) -> None:
    large = {f"x-trivet-{index}": "x" * 8000 for index in range(3)}

    assert_error(await rig.post(PATH, RUN, headers=large), 400, None)
    del large["x-trivet-2"]
    assert (await rig.post(PATH, {**RUN, "stream": False}, headers=large))[0] == 200


async def test_the_older_header_prefix_means_the_same(rig: Rig) -> None:
    assert_error(await rig.post(PATH, RUN, headers={"x-tfy-mcp-headers": "["}), 400, "x-trivet-mcp-headers")


async def test_health_needs_no_key_and_readiness_names_each_service(rig: Rig) -> None:
    async with rig.http.get("/healthz", headers={"Authorization": ""}) as answer:
        assert answer.status == 200
    status, body = await rig.get("/readyz")
    assert (status, set(body["services"].values())) == (200, {"serving"})


async def test_readiness_ends_when_a_service_stops_serving(rig: Rig) -> None:
    rig.server.health.set("trivet.tool.v1.ToolService", serving=False)

    status, body = await rig.get("/readyz")

    assert (status, body["services"]["trivet.tool.v1.ToolService"]) == (503, "not_serving")


async def test_no_page_may_read_answers_by_default(rig: Rig) -> None:
    async with rig.http.post(PATH, json={**RUN, "stream": False}, headers={"Origin": "https://a.example"}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
    async with rig.http.options(PATH, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}) as answer:
        assert answer.status == 405


async def test_the_pages_of_allowed_origins_may_call() -> None:
    settings = BridgeSettings(cors=CorsSettings(origins=("https://a.example",)))
    async with bridge(ScriptedModels([ANSWER] * 2), ScriptedTools({}), settings) as rig:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        async with rig.http.options(PATH, headers={"Origin": "https://a.example", **asked}) as preflight:
            assert (preflight.status, preflight.headers["Access-Control-Allow-Headers"]) == (204, "authorization")
            assert preflight.headers["Access-Control-Allow-Origin"] == "https://a.example"
        async with rig.http.post(PATH, json=RUN, headers={"Origin": "https://a.example"}) as stream:
            assert stream.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert stream.headers["Vary"] == "Origin"
        async with rig.http.post(PATH, json=RUN, headers={"Origin": "https://b.example"}) as foreign:
            assert "Access-Control-Allow-Origin" not in foreign.headers


async def test_the_contract_and_its_page_need_no_key_and_load_nothing_else(rig: Rig) -> None:
    async with rig.http.get("/openapi.json", headers={"Authorization": ""}) as answer:
        contract = await answer.json()
    async with rig.http.get("/docs", headers={"Authorization": ""}) as answer:
        page = await answer.text()
    assert {"/responses", "/chat/completions", "/agent/responses"} <= set(contract["paths"])
    assert "https://" not in page
    assert "http://" not in page


async def test_what_is_no_http_is_refused_without_an_error_in_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    host, port = rig.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Null: \x00\r\n\r\n")

    head = await asyncio.wait_for(reader.readline(), 5)
    writer.close()

    assert b" 400 " in head
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_header_as_long_as_a_large_token_is_read(rig: Rig) -> None:
    answer = await rig.post(PATH, RUN, headers={"Authorization": f"Bearer {'x' * 16_000}"})

    assert_error(answer, 401, None, "invalid_api_key")
