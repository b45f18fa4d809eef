"""The HTTP client of a provider: what is sent, what failures become, and that leaving ends the upstream call."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from email.utils import formatdate

import orjson
import pytest

from tests.upstreams.scripted import (
    CLOSE,
    END,
    RESET,
    ScriptedUpstream,
    Step,
    answer,
    piece,
    response,
    sse,
    stream,
    stream_head,
)
from trivet.kernel.errors import (
    Overloaded,
    RateLimited,
    ServiceError,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
)
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_answer import UpstreamLimits
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.attempts import connect_seconds

KEY = "sk-very-secret-key"


@pytest.fixture
async def http(upstream: ScriptedUpstream) -> AsyncIterator[UpstreamHttp]:
    client = UpstreamHttp("lab", Endpoint(upstream.base_url, KEY), headers={"X-Team": "blue-team"})
    yield client
    await client.aclose()


async def events(http: UpstreamHttp) -> list[SseEvent]:
    return [event async for batch in http.post_stream("chat", {}) for event in batch]


async def error_of(http: UpstreamHttp) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await http.post_json("chat", {})
    return caught.value


async def test_a_call_carries_the_key_the_headers_and_the_body(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(answer({"ok": True}))
    assert await http.post_json("chat", {"raw": orjson.Fragment('{"a": 1}')}) == {"ok": True}
    [request] = upstream.requests
    assert (request.method, request.path, request.body) == ("POST", "/v1/chat", {"raw": {"a": 1}})
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-team"] == "blue-team"


async def test_a_configured_authorization_header_takes_the_place_of_the_key(upstream: ScriptedUpstream) -> None:
    client = UpstreamHttp("lab", Endpoint(upstream.base_url, KEY), headers={"authorization": "Basic abc"})
    upstream.play(answer({}))
    await client.get_json("models")
    assert upstream.requests[0].headers["authorization"] == "Basic abc"
    await client.aclose()


async def test_calls_share_connections(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    for script in (answer({}), stream(sse({})), stream(sse({})), answer({})):
        upstream.play(script)
    await http.get_json("models")
    await events(http)
    await events(http)
    await http.get_json("models")
    assert upstream.connections == 1


@pytest.mark.parametrize("ending", [CLOSE, RESET])
async def test_a_request_whose_connection_breaks_is_not_sent_again(
    upstream: ScriptedUpstream, http: UpstreamHttp, ending: str
) -> None:
    upstream.play(answer({"n": 1}))
    upstream.play(ending)
    await http.get_json("models")
    with pytest.raises(UpstreamFailed) as raised:
        await http.post_json("chat", {})
    assert raised.value.upstream_status == 502
    assert len(upstream.requests) == 2


async def test_a_connection_may_take_as_long_to_be_opened_as_the_attempt_says(http: UpstreamHttp) -> None:
    token = connect_seconds.set(1e-9)
    try:
        with pytest.raises(UpstreamTimeout) as raised:
            await http.post_json("chat", {})
    finally:
        connect_seconds.reset(token)
    assert raised.value.upstream_status == 408


async def test_gzip_is_understood(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(response(gzip.compress(b'{"a": 1}'), headers={"Content-Encoding": "gzip"}))
    assert await http.get_json("models") == {"a": 1}


async def test_events_come_as_soon_as_they_are_there_and_together_when_they_are(
    upstream: ScriptedUpstream, http: UpstreamHttp
) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    upstream.play(stream(b"data: 1\n\n", first, b"data: 2\n\ndata: 3\n\nda", second, b"ta: 4\n\n"))
    async with aclosing(http.post_stream("chat", {})) as batches:
        assert await anext(batches) == [SseEvent("", b"1")]
        first.set()
        assert await anext(batches) == [SseEvent("", b"2"), SseEvent("", b"3")]
        second.set()
        assert await anext(batches) == [SseEvent("", b"4")]


async def test_a_stream_ends_with_its_last_event_though_the_body_goes_on(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(stream_head(), piece(sse({})), asyncio.Event())
    assert [event.data for event in await events(http)] == [b"{}", b"[DONE]"]
    await upstream.until(lambda: upstream.open == 0)


@pytest.mark.parametrize("read_first", [False, True])
async def test_closing_a_stream_ends_the_upstream_call(upstream: ScriptedUpstream, http: UpstreamHttp, read_first: bool) -> None:
    upstream.play(stream_head(), piece(b"data: 1\n\n"), asyncio.Event())
    reading = asyncio.Event()

    async def consume() -> None:
        async with aclosing(http.post_stream("chat", {})) as batches:
            async for _ in batches:
                reading.set()
                if read_first:
                    break
        if read_first:
            await upstream.until(lambda: upstream.open == 0)

    task = asyncio.create_task(consume())
    await reading.wait()
    if read_first:
        await task
        return
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.until(lambda: upstream.open == 0)


@pytest.mark.parametrize("begun", [[], [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"]])
async def test_cancelling_a_plain_call_ends_the_upstream_call(
    upstream: ScriptedUpstream, http: UpstreamHttp, begun: list[Step]
) -> None:
    upstream.play(*begun, asyncio.Event())
    task = asyncio.create_task(http.post_json("chat", {}))
    await upstream.until(lambda: len(upstream.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.until(lambda: upstream.open == 0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamRejected),
        (404, UpstreamRejected),
        (413, UpstreamRejected),
        (401, UpstreamFailed),
        (402, UpstreamFailed),
        (403, UpstreamFailed),
        (429, RateLimited),
        (500, UpstreamFailed),
        (502, UpstreamFailed),
        (503, Overloaded),
        (504, UpstreamTimeout),
        (529, Overloaded),
        (302, UpstreamFailed),
    ],
)
async def test_a_status_becomes_its_error(
    upstream: ScriptedUpstream, http: UpstreamHttp, status: int, kind: type[ServiceError]
) -> None:
    upstream.play(answer({"error": {"message": "no"}}, status=status, headers={"Location": "http://127.0.0.1:1/"}))
    error = await error_of(http)
    assert type(error) is kind
    assert error.metadata.get("http_status", "") == (str(status) if kind is UpstreamRejected else "")


async def test_a_rejection_keeps_what_the_upstream_said(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    told = {"message": "too long", "param": "messages[3]", "code": "context_length_exceeded", "type": "invalid_request"}
    upstream.play(answer({"error": told}, status=400))
    error = await error_of(http)
    assert (error.message, error.param) == ("too long", "messages[3]")
    assert error.metadata == {"http_status": "400", "code": "context_length_exceeded", "type": "invalid_request"}


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"error": "plain text"}, "plain text", ""),
        ({"detail": "of FastAPI"}, "of FastAPI", ""),
        ({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "bad role"}]}, "bad role", "messages[0].role"),
        ([{"error": {"code": 400, "message": "of Gemini", "status": "INVALID_ARGUMENT"}}], "of Gemini", ""),
        ({"object": "error", "message": "of old vLLM", "code": 40303, "param": None}, "of old vLLM", ""),
        (["what"], "The provider `lab` rejected the request (HTTP 422).", ""),
        ({"error": {"message": 5}}, "The provider `lab` rejected the request (HTTP 422).", ""),
    ],
)
async def test_every_form_of_error_body_is_read(
    upstream: ScriptedUpstream, http: UpstreamHttp, body: object, message: str, param: str
) -> None:
    upstream.play(answer(body, status=422))
    error = await error_of(http)
    assert (error.message, error.param, error.metadata["http_status"]) == (message, param, "400")


async def test_an_error_page_is_not_passed_on(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(response(b"<html>nginx at 10.1.2.3</html>", status=502, headers={"Content-Type": "text/html"}))
    assert (await error_of(http)).message == "The provider `lab` failed: HTTP 502"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_kept(
    upstream: ScriptedUpstream, http: UpstreamHttp, headers: dict[str, str], seconds: float | None
) -> None:
    upstream.play(answer({}, status=429, headers=headers))
    assert (await error_of(http)).retry_after == seconds


async def test_a_date_in_retry_after_is_a_wait(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(answer({}, status=429, headers={"Retry-After": formatdate(time.time() + 1000, usegmt=True)}))
    assert (await error_of(http)).retry_after == pytest.approx(1000, abs=60)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_no_message_holds_our_key_or_address(upstream: ScriptedUpstream, http: UpstreamHttp, status: int) -> None:
    told = f"key {KEY} of blue-team at {upstream.base_url}/chat on 127.0.0.1:{upstream.port} is none"
    upstream.play(answer({"error": {"message": told, "param": KEY, "code": KEY}}, status=status))
    error = await error_of(http)
    shown = json.dumps([error.message, error.param, error.metadata, str(error)])
    assert "is none" in shown
    assert not any(secret in shown for secret in (KEY, "blue-team", str(upstream.port)))


@pytest.mark.parametrize(
    "script",
    [
        [CLOSE],
        [RESET],
        [b"not http at all\r\n\r\n", CLOSE],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", CLOSE],
        [response(b"not json")],
        [response(b"[]")],
        [response(b"")],
        [stream_head(), piece(b"data: 1\n\n")],
        [response(b"{}", headers={"Content-Encoding": "gzip"})],
    ],
)
async def test_a_broken_answer_is_an_upstream_failure(upstream: ScriptedUpstream, http: UpstreamHttp, script: list[Step]) -> None:
    upstream.play(script)
    error = await error_of(http)
    assert type(error) is UpstreamFailed
    assert str(upstream.port) not in error.message


@pytest.mark.parametrize(
    "script",
    [
        [stream_head(), piece(b"data: 1\n\n"), CLOSE],
        [stream_head(), piece(b"data: 1\n\n"), RESET],
        [stream_head(), b"zz\r\nnot a chunk\r\n"],
        [response(b'{"id": "no answer"}')],
        [response(b'{"choices": []}')],
        [stream_head(), piece(b"data: " + b"x" * 3000)],
    ],
)
async def test_a_broken_stream_is_an_upstream_failure(upstream: ScriptedUpstream, script: list[Step]) -> None:
    http = UpstreamHttp("lab", Endpoint(upstream.base_url), limits=UpstreamLimits(max_event_bytes=2000))
    upstream.play(script)
    with pytest.raises(UpstreamFailed):
        await events(http)
    await http.aclose()


async def test_an_answer_in_one_piece_is_the_only_event(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(answer({"choices": ["whole"]}))
    assert [json.loads(event.data) for event in await events(http)] == [{"choices": ["whole"]}]


async def test_an_error_with_status_200_in_place_of_a_stream_is_that_error(
    upstream: ScriptedUpstream, http: UpstreamHttp
) -> None:
    upstream.play(answer({"error": {"message": "slow down", "code": 429}}))
    with pytest.raises(RateLimited, match="slow down"):
        await events(http)


async def test_an_answer_above_the_limit_is_an_upstream_failure(upstream: ScriptedUpstream) -> None:
    http = UpstreamHttp("lab", Endpoint(upstream.base_url), limits=UpstreamLimits(max_response_bytes=100))
    upstream.play(answer({"long": "x" * 200}))
    assert "too large" in (await error_of(http)).message
    await http.aclose()


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:{closed}/v1", "http://nowhere.invalid/v1"])
async def test_a_provider_that_is_not_there_is_an_upstream_failure(base_url: str) -> None:
    async with ScriptedUpstream() as gone:
        closed = gone.port
    http = UpstreamHttp("lab", Endpoint(base_url.format(closed=closed)))
    error = await error_of(http)
    assert (type(error), error.message) == (UpstreamFailed, "The provider `lab` cannot be reached.")
    await http.aclose()


@pytest.mark.parametrize("limits", [UpstreamLimits(read_seconds=0.05), UpstreamLimits(total_seconds=0.05)])
@pytest.mark.parametrize("begun", [[], [stream_head(), piece(b"data: 1\n\n")]])
async def test_a_silent_upstream_is_a_timeout(upstream: ScriptedUpstream, limits: UpstreamLimits, begun: list[Step]) -> None:
    http = UpstreamHttp("lab", Endpoint(upstream.base_url), limits=limits)
    upstream.play(*begun, asyncio.Event())
    with pytest.raises(UpstreamTimeout):
        await events(http)
    await upstream.until(lambda: upstream.open == 0)
    await http.aclose()


async def test_an_endpoint_that_is_found_late_is_asked_for_at_each_call(upstream: ScriptedUpstream) -> None:
    asked = []

    async def endpoint() -> Endpoint:
        asked.append(True)
        return Endpoint(upstream.base_url, KEY)

    http = UpstreamHttp("local", endpoint)
    upstream.play(answer({}))
    upstream.play(answer({"error": {"message": f"bad {KEY}"}}, status=400))
    await http.get_json("models")
    with pytest.raises(UpstreamRejected, match=r"bad \[redacted\]"):
        await http.get_json("models")
    assert len(asked) == 2
    await http.aclose()


def test_the_end_of_a_stream_is_written_as_http_says() -> None:
    assert stream(b"x") == [stream_head(), b"1\r\nx\r\n", END]
