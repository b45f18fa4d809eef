"""Calls of a provider over real sockets: bodies in both directions, headers, and how calls end that are not read to their end."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from tests.upstreams.scripted import CLOSE, END, ScriptedUpstream, Step, answer, piece, response, sse, stream, stream_head
from trivet.kernel.errors import InvalidRequest, RateLimited, ServiceError, UpstreamFailed, UpstreamTimeout
from trivet.model_service.adapters.upload_body import UploadBody
from trivet.model_service.adapters.upstream_answer import UpstreamLimits
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.audio import AudioFile, FileContent

EVENTS = {"Content-Type": "text/event-stream"}


@pytest.fixture
async def http(upstream: ScriptedUpstream) -> AsyncIterator[UpstreamHttp]:
    client = UpstreamHttp("lab", Endpoint(upstream.base_url, "sk-secret"), limits=UpstreamLimits(read_seconds=10))
    yield client
    await client.aclose()


async def read(http: UpstreamHttp) -> list[bytes]:
    return [event.data for batch in [batch async for batch in http.post_stream("chat", {})] for event in batch]


# ---- what is asked -------------------------------------------------------------------------------------------------


async def test_the_headers_of_a_provider_outrank_those_of_a_call(upstream: ScriptedUpstream) -> None:
    given = {"X-Beta": "ours", "accept-encoding": "gzip", "User-Agent": "lab/1", "Content-Length": "5", "transfer-encoding": "x"}
    http = UpstreamHttp("lab", Endpoint(upstream.base_url, "sk-secret"), headers=given)
    upstream.play(answer({}))
    await http.post_json("chat", {"a": 1}, headers={"x-beta": "theirs", "X-Call": "1"})
    await http.aclose()
    assert upstream.requests[0].headers == {
        "host": f"127.0.0.1:{upstream.port}",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "content-type": "application/json",
        "authorization": "Bearer sk-secret",
        "x-beta": "ours",
        "user-agent": "lab/1",
        "x-call": "1",
        "content-length": "7",
    }


async def test_answers_are_asked_for_as_they_are(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(answer({}))
    upstream.play(stream(sse()))
    await http.get_json("models?limit=1")
    await read(http)
    assert [request.headers["accept-encoding"] for request in upstream.requests] == ["identity"] * 2
    assert [request.headers["accept"] for request in upstream.requests] == ["application/json", "text/event-stream"]
    assert (upstream.requests[0].path, "content-length" in upstream.requests[0].headers) == ("/v1/models?limit=1", False)


@pytest.mark.parametrize("headers", [{"X-Beta": "a\r\nX-More: 1"}, {"X-Beta\r\nX-More": "1"}, {"X-Beta": "a\nb"}])
async def test_nobody_puts_a_header_into_a_header(
    upstream: ScriptedUpstream, http: UpstreamHttp, headers: dict[str, str]
) -> None:
    with pytest.raises(UpstreamFailed):
        await http.post_json("chat", {}, headers=headers)
    assert (upstream.requests, upstream.connections) == ([], 0)


@pytest.mark.parametrize("path", ["a b", "a\r\nX-More: 1", "a#b", "ü"])
async def test_nobody_puts_a_line_into_a_path(upstream: ScriptedUpstream, http: UpstreamHttp, path: str) -> None:
    with pytest.raises(UpstreamFailed):
        await http.get_json(path)
    assert upstream.connections == 0


async def test_a_user_in_the_url_is_shown_where_nothing_else_is(upstream: ScriptedUpstream) -> None:
    for key, shown in (("", "Basic bWU6cEBzcw=="), ("sk-secret", "Bearer sk-secret")):
        http = UpstreamHttp("lab", Endpoint(f"http://me:p%40ss@127.0.0.1:{upstream.port}", key))
        upstream.play(answer({}))
        await http.get_json("models")
        await http.aclose()
        assert upstream.requests[-1].headers["authorization"] == shown
        assert upstream.requests[-1].headers["host"] == f"127.0.0.1:{upstream.port}"


async def test_a_url_that_is_none_is_a_provider_that_cannot_be_reached() -> None:
    for url in ("http://127.0.0.1:port", "http://h\r\nX-More: 1", ""):
        http = UpstreamHttp("lab", Endpoint(url))
        with pytest.raises(UpstreamFailed, match="cannot be reached"):
            await http.get_json("models")
        await http.aclose()


# ---- what is answered ----------------------------------------------------------------------------------------------


async def test_a_compressed_stream_is_read_as_it_comes(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    gate = asyncio.Event()
    whole = gzip.compress(sse({"n": 1}))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.play(head, piece(gzip.compress(b"data: first\n\n")), gate, piece(whole[:20]), piece(whole[20:]), END)
    async with aclosing(http.post_stream("chat", {})) as batches:
        assert [event.data for event in await anext(batches)] == [b"first"]
        gate.set()
        assert [event.data for batch in [batch async for batch in batches] for event in batch] == [b'{"n": 1}', b"[DONE]"]


async def test_a_bomb_is_an_answer_that_is_too_large(upstream: ScriptedUpstream) -> None:
    http = UpstreamHttp("lab", Endpoint(upstream.base_url), limits=UpstreamLimits(max_response_bytes=1_000_000))
    upstream.play(response(gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": "gzip"}))
    with pytest.raises(UpstreamFailed, match="too large"):
        await http.get_json("models")
    await http.aclose()


async def test_an_encoding_that_was_not_asked_for_is_refused(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(response(b"{}", headers={"Content-Encoding": "br"}))
    with pytest.raises(UpstreamFailed, match="encoding"):
        await http.get_json("models")


async def test_a_compressed_error_is_read(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    told = gzip.compress(b'{"error": {"message": "Slowly."}}')
    upstream.play(response(told, status=429, headers={"Content-Encoding": "gzip", "retry-AFTER": "3"}))
    with pytest.raises(RateLimited, match="Slowly") as error:
        await http.get_json("models")
    assert error.value.retry_after == 3


@pytest.mark.parametrize(
    "script",
    [
        [b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: 100\r\n\r\n{", CLOSE],
        [b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nTransfer-Encoding: chunked\r\n\r\nzz"],
        [b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\n{"],
        [b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: 9999999999\r\n\r\n" + bytes(1_000_000), asyncio.Event()],
    ],
)
async def test_a_status_counts_though_its_explanation_breaks_off_or_has_no_end(
    upstream: ScriptedUpstream, http: UpstreamHttp, script: list[Step]
) -> None:
    upstream.play(*script)
    with pytest.raises(RateLimited) as error:
        await http.get_json("models")
    assert error.value.retry_after == 3
    await http.aclose()
    await upstream.until(lambda: upstream.open == 0)


async def test_an_answer_until_the_connection_ends_is_whole(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    for n in range(2):
        upstream.play(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"n":', b"%d}" % n, CLOSE)
        assert await http.get_json("models") == {"n": n}
    assert upstream.connections == 2


async def test_a_server_that_closes_after_each_answer_is_asked_on_new_connections(
    upstream: ScriptedUpstream, http: UpstreamHttp
) -> None:
    for n in range(3):
        upstream.play(answer({"n": n}, headers={"Connection": "close"}), CLOSE)
        assert await http.get_json("models") == {"n": n}
    assert upstream.connections == 3


async def test_what_follows_an_answer_is_not_the_next_one(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(answer({"n": 1}) + answer({"n": "put in"}))
    upstream.play(answer({"n": 2}))
    assert [await http.get_json("models"), await http.get_json("models")] == [{"n": 1}, {"n": 2}]
    assert upstream.connections == 2


async def test_a_slow_reader_stops_the_provider(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    """Of 40 MB, what the reader has not come to stays with the provider, but for the sockets' buffers."""
    event = b"data: " + bytes(64_000).replace(b"\0", b"x") + b"\n\n"
    upstream.play(stream_head(), piece(event) * 640, piece(sse()), END)
    async with aclosing(http.post_stream("chat", {})) as batches:
        events = len(await anext(batches))
        for _ in range(2000):
            await asyncio.sleep(0)
        [transport] = upstream.transports
        assert transport.get_write_buffer_size() > 20_000_000
        async for batch in batches:
            events += len(batch)
    assert events == 641
    assert upstream.connections == 1


# ---- how calls end -------------------------------------------------------------------------------------------------


async def test_closing_ends_the_calls_that_run(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    for begun in ([], [stream_head(), piece(b"data: 1\n\n")]):
        upstream.play(*begun, asyncio.Event())
    calls = [asyncio.ensure_future(http.get_json("models")), asyncio.ensure_future(read(http))]
    await upstream.until(lambda: len(upstream.requests) == 2)
    await http.aclose()
    for call in calls:
        with pytest.raises(UpstreamFailed):
            await call
    await upstream.until(lambda: upstream.open == 0)
    with pytest.raises(UpstreamFailed):
        await http.get_json("models")


async def test_closing_before_the_first_call_closes_too(upstream: ScriptedUpstream) -> None:
    http = UpstreamHttp("lab", Endpoint(upstream.base_url))
    await http.aclose()
    with pytest.raises(UpstreamFailed):
        await http.get_json("models")
    assert upstream.connections == 0


async def test_a_stream_that_is_left_early_ends_though_more_has_come(upstream: ScriptedUpstream, http: UpstreamHttp) -> None:
    upstream.play(stream_head(), piece(b"data: 1\n\n"), piece(b"data: 2\n\n"), asyncio.Event())
    async with aclosing(http.post_stream("chat", {})) as batches:
        await anext(batches)
    await upstream.until(lambda: upstream.open == 0)


async def test_other_credentials_leave_running_calls_and_connections_alone(upstream: ScriptedUpstream) -> None:
    keys = iter(["first", "second", "second"])

    async def endpoint() -> Endpoint:
        return Endpoint(upstream.base_url, next(keys))

    http = UpstreamHttp("lab", endpoint)
    gate = asyncio.Event()
    upstream.play(gate, answer({"n": 1}))
    upstream.play(answer({"n": 2}))
    upstream.play(answer({"n": 3}))
    running = asyncio.ensure_future(http.get_json("models"))
    await upstream.until(lambda: len(upstream.requests) == 1)
    assert [await http.get_json("models"), await http.get_json("models")] == [{"n": 2}, {"n": 3}]
    gate.set()
    assert await running == {"n": 1}
    assert [request.headers["authorization"] for request in upstream.requests] == [
        f"Bearer {key}" for key in ("first", "second", "second")
    ]
    assert upstream.connections == 2
    await http.aclose()


# ---- uploads -------------------------------------------------------------------------------------------------------


class Receiver:
    """Takes a request as it comes, and answers when a test says so."""

    def __init__(self) -> None:
        self.got = b""
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()
        self.writer: asyncio.StreamWriter | None = None

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            while data := await reader.read(1 << 16):
                self.got += data
                self.changed.set()
        except ConnectionError:
            pass
        self.ended.set()
        writer.close()

    async def until(self, end: bytes) -> None:
        async with asyncio.timeout(30):
            while not self.got.endswith(end):
                self.changed.clear()
                await self.changed.wait()

    def say(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, UpstreamHttp]]:
    taking = Receiver()
    server = await asyncio.start_server(taking.take, "127.0.0.1", 0)
    limits = UpstreamLimits(read_seconds=0.2)
    http = UpstreamHttp("lab", Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), limits=limits)
    yield taking, http
    await http.aclose()
    server.close()
    if taking.writer is not None:
        async with asyncio.timeout(30):
            await taking.ended.wait()


def upload(*pieces: bytes, size: int | None, gate: asyncio.Event | None = None, error: ServiceError | None = None) -> UploadBody:
    async def content() -> AsyncIterator[bytes]:
        for given in pieces:
            yield given
        if gate is not None:
            await gate.wait()
        if error is not None:
            raise error

    return UploadBody({"model": "w"}, "file", AudioFile("a.wav", "audio/wav", size, FileContent(content())))


async def test_a_file_of_known_size_is_sent_as_it_is(receiver: tuple[Receiver, UpstreamHttp]) -> None:
    taking, http = receiver
    body = upload(b"one", b"", b"two", size=6)
    asking = asyncio.ensure_future(http.answer("audio", body))
    await taking.until(b"--\r\n")
    head, _, sent = taking.got.partition(b"\r\n\r\n")
    assert b"\r\nContent-Length: %d" % len(sent) in head
    assert f"Content-Type: {body.content_type}".encode() in head
    assert b"onetwo\r\n--" in sent
    taking.say(answer({"text": "hi"}))
    with await asking as given:
        assert await given.json_object() == {"text": "hi"}


async def test_a_file_of_unknown_size_is_sent_in_chunks(receiver: tuple[Receiver, UpstreamHttp]) -> None:
    taking, http = receiver
    asking = asyncio.ensure_future(http.answer("audio", upload(b"one", b"", b"two", size=None)))
    await taking.until(b"\r\n0\r\n\r\n")
    head, _, sent = taking.got.partition(b"\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    assert b"\r\n3\r\none\r\n3\r\ntwo\r\n" in sent
    taking.say(answer({"text": "hi"}))
    with await asking as given:
        assert await given.json_object() == {"text": "hi"}


async def test_an_answer_may_come_before_the_end_of_the_file_and_ends_it(receiver: tuple[Receiver, UpstreamHttp]) -> None:
    taking, http = receiver
    asking = asyncio.ensure_future(http.answer("audio", upload(b"one", size=None, gate=asyncio.Event())))
    await taking.until(b"one\r\n")
    taking.say(answer({"text": "hi"}))
    with await asking as given:
        assert await given.json_object() == {"text": "hi"}
    async with asyncio.timeout(30):
        await taking.ended.wait()


@pytest.mark.parametrize("size", [2, 4])
async def test_a_file_of_another_size_is_a_broken_call(receiver: tuple[Receiver, UpstreamHttp], size: int) -> None:
    _, http = receiver
    with pytest.raises(UpstreamFailed):
        await http.answer("audio", upload(b"one", size=size))


async def test_a_file_that_fails_ends_the_call(receiver: tuple[Receiver, UpstreamHttp]) -> None:
    taking, http = receiver
    body = upload(b"one", size=None, error=InvalidRequest("cut off"))
    with pytest.raises(UpstreamFailed):
        await http.answer("audio", body)
    assert isinstance(body.file.content.failure, InvalidRequest)
    async with asyncio.timeout(30):
        await taking.ended.wait()


async def test_the_time_of_an_answer_begins_with_the_end_of_the_file(receiver: tuple[Receiver, UpstreamHttp]) -> None:
    _, http = receiver
    with pytest.raises(UpstreamTimeout):
        await http.answer("audio", upload(b"one", size=3))


async def test_leaving_ends_the_upload(receiver: tuple[Receiver, UpstreamHttp]) -> None:
    taking, http = receiver
    asking = asyncio.ensure_future(http.answer("audio", upload(b"one", size=None, gate=asyncio.Event())))
    await taking.until(b"one\r\n")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(30):
        await taking.ended.wait()
