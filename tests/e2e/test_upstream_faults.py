"""Whatever an upstream does wrong, the caller gets a typed error: its status before the first event, the last event after it."""

import asyncio
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.answers import NEVER, begun
from tests.e2e.bodies import PATHS, USER, body
from tests.e2e.frames import data_of, read_until
from tests.e2e.rig import gateway
from tests.e2e.runs import DONE, calling, play, run
from tests.e2e.sdk import Recorder
from tests.e2e.shapes import Shape
from tests.standalone.compose import KEY
from tests.upstreams.scripted import CLOSE, RESET, Step, answer, piece, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])
streamed_or_not = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
of_each_face = pytest.mark.parametrize("face", PATHS)


def leaks(shape: Shape, text: str) -> list[str]:
    """What of the inside of the gateway stands in an answer."""
    inside = (str(shape.upstream.port), "127.0.0.1", "Traceback", ".py", "aiohttp", "grpc", "Errno")
    return [secret for secret in inside if secret in text]


@dataclass(frozen=True)
class Early:
    """What the upstream plays instead of an answer, and the error that it is."""

    steps: tuple[Step, ...]
    status: int
    code: str | None
    words: str = ""
    retry_after: str | None = None


def refused(status: int, told: object = "It told why.", **headers: str) -> tuple[Step, ...]:
    return (answer({"error": {"message": told}}, status=status, headers=headers),)


EARLY = {
    "400": Early(refused(400), 400, None, "It told why."),
    "401": Early(refused(401), 502, "upstream_failed", "credentials"),
    "403": Early(refused(403), 502, "upstream_failed", "credentials"),
    "404": Early(refused(404), 404, None, "It told why."),
    "422": Early(refused(422), 400, None, "It told why."),
    "429": Early(refused(429, **{"Retry-After": "7"}), 429, "rate_limit_exceeded", "It told why.", "7"),
    "500": Early(refused(500), 502, "upstream_failed", "It told why."),
    "500 as a page": Early((response(b"<html>oops</html>", status=500),), 502, "upstream_failed"),
    "503": Early(refused(503, **{"Retry-After": "3"}), 503, "overloaded", "It told why.", "3"),
    "an error with status 200": Early(refused(200), 502, "upstream_failed", "It told why."),
    "a redirect": Early((answer({}, status=302, headers={"Location": "http://127.0.0.1:1/"}),), 502, "upstream_failed"),
    "a page": Early((response(b"<html>hello</html>", headers={"Content-Type": "text/html"}),), 502, "upstream_failed"),
    "an empty answer": Early((response(b""),), 502, "upstream_failed"),
    "another object": Early((answer({"hello": "world"}),), 502, "upstream_failed"),
    "what is no HTTP": Early((b"\x00\x01\x02 hello\r\n\r\n", CLOSE), 502, "upstream_failed"),
    "a closed connection": Early((CLOSE,), 502, "upstream_failed"),
    "a reset connection": Early((RESET,), 502, "upstream_failed"),
    "half an answer": Early((answer({"choices": []})[:-3], CLOSE), 502, "upstream_failed"),
}


@streamed_or_not
@of_each_face
@of_each_dialect
@pytest.mark.parametrize("fault", EARLY.values(), ids=EARLY)
async def test_an_early_fault_has_its_status(one: Shape, fault: Early, dialect: str, face: str, streamed: bool) -> None:
    one.upstream.play(*fault.steps)

    async with one.http.post(PATHS[face], json=body(face, f"{dialect}/m", streamed=streamed)) as given:
        told = await given.json()

    error = told["error"]
    assert (given.status, error["code"]) == (fault.status, fault.code), error
    assert given.headers.get("Retry-After") == fault.retry_after
    assert fault.words in error["message"]
    assert leaks(one, str(told)) == []
    assert len(one.upstream.requests) == 1


@streamed_or_not
@of_each_face
async def test_an_upstream_that_refuses_connections_is_a_bad_gateway(one: Shape, face: str, streamed: bool) -> None:
    status, told = await one.post(PATHS[face], body(face, "gone/m", streamed=streamed))

    assert (status, told["error"]["code"]) == (502, "upstream_failed")
    assert one.world.nobody.partition(":")[2] not in str(told)


async def test_an_upstream_that_does_not_answer_is_a_gateway_timeout(one: Shape) -> None:
    asked = [(face, dialect, streamed) for face in PATHS for dialect in ("lab", "oai") for streamed in (True, False)]
    for _ in asked:
        one.upstream.play(asyncio.Event())

    found = await asyncio.gather(
        *(one.post(PATHS[face], body(face, f"hasty-{dialect}/m", streamed=streamed)) for face, dialect, streamed in asked)
    )

    assert {(status, told["error"]["code"]) for status, told in found} == {(504, "upstream_timeout")}


LATE: dict[str, tuple[str, tuple[Any, ...]]] = {
    "ends early": ("upstream_failed", (b"0\r\n\r\n",)),
    "closes": ("upstream_failed", (CLOSE,)),
    "resets": ("upstream_failed", (RESET,)),
    "sends what is no JSON": ("upstream_failed", (piece(b"data: {oops\n\n"),)),
    "sends what is no event": ("upstream_failed", (piece(b"data: [1]\n\n"),)),
    "sends what is no text": ("upstream_failed", (piece(b"data: \xff\xfe\n\n"),)),
    "breaks its framing": ("upstream_failed", (b"zz\r\n",)),
    "tells an error": ("upstream_failed", (piece(b'data: {"error": {"message": "It told why."}}\n\n'),)),
    "tells its limit": (
        "rate_limit_exceeded",
        (piece(b'event: error\ndata: {"type":"error","error":{"message":"Slowly.","type":"rate_limit_error"}}\n\n'),),
    ),
    "stalls": ("upstream_timeout", (NEVER,)),
}


@of_each_face
@of_each_dialect
@pytest.mark.parametrize(("code", "steps"), LATE.values(), ids=LATE)
async def test_a_late_fault_is_the_last_event(one: Shape, code: str, steps: tuple[Any, ...], dialect: str, face: str) -> None:
    heard = asyncio.Event()
    one.upstream.play(*begun(dialect, heard, *steps))

    provider = f"hasty-{dialect}" if NEVER in steps else dialect
    async with one.http.post(PATHS[face], json=body(face, f"{provider}/m", streamed=True)) as given:
        raw = await read_until(given, b"Hello")
        heard.set()
        raw += await given.content.read()

    events = data_of(raw)
    assert raw.endswith(b"data: [DONE]\n\n")
    assert leaks(one, raw.decode()) == []
    if face == "responses":
        assert check_responses_sse(raw) == []
        assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
        assert events[-2]["error"]["code"] == code
        assert events[-1]["response"]["status"] == "failed"
    else:
        assert set(events[-1]) == {"error"}
        assert events[-1]["error"]["code"] == code


@of_each_dialect
async def test_a_late_fault_is_an_error_of_the_sdk(one: Shape, dialect: str) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{one.url}/v1",
        api_key=KEY,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(transport=Recorder()),
    ) as client:
        one.upstream.play(*begun(dialect, CLOSE))
        with pytest.raises(openai.APIError, match="broke"):
            async for _ in await client.responses.create(model=f"{dialect}/m", input="go", stream=True):
                pass
        one.upstream.play(*begun(dialect, CLOSE))
        with pytest.raises(openai.APIError, match="broke"):
            async for _ in await client.chat.completions.create(model=f"{dialect}/m", messages=USER, stream=True):  # type: ignore[arg-type]
                pass


async def test_a_fault_after_the_first_iteration_is_the_last_event_of_a_run(one: Shape) -> None:
    play(one.upstream, calling(("add", {"a": 1, "b": 1})))
    one.upstream.play(*refused(500))

    raw = await one.raw(PATHS["agent"], run())

    assert data_of(raw)[-1]["error"]["code"] == "upstream_failed"
    assert raw.endswith(b"data: [DONE]\n\n")


@of_each_face
@of_each_dialect
async def test_a_connection_that_was_closed_meanwhile_costs_no_call(one: Shape, dialect: str, face: str) -> None:
    for closing in (CLOSE, RESET):
        said = DONE.script(dialect, streamed=True)
        one.upstream.play(*said, closing)
        first = await one.raw(PATHS[face], body(face, f"{dialect}/m", streamed=True))
        one.upstream.play(*said)
        second = await one.raw(PATHS[face], body(face, f"{dialect}/m", streamed=True))
        assert (b"All " in first, b"All " in second) == (True, True)


async def test_one_connection_serves_call_after_call() -> None:
    async with gateway() as rig:
        for dialect in ("lab", "oai"):
            for streamed in (True, False) * 3:
                for face in ("responses", "chat"):
                    rig.upstream.play(*[DONE.script(dialect, streamed=streamed)])
                    async with rig.http.post(PATHS[face], json=body(face, f"{dialect}/m", streamed=streamed)) as given:
                        assert given.status == 200, await given.text()
                        await given.read()
            play(rig.upstream, DONE, dialect=dialect)
            async with rig.http.post(PATHS["agent"], json=body("agent", f"{dialect}/m", streamed=True)) as given:
                await given.read()

        assert len(rig.upstream.requests) == 26
        assert rig.upstream.connections == 2
