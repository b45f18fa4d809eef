"""Speech comes as it is made, with its own type, and is never taken for whole when it is not."""

import asyncio
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web

from tests.audio.rig import Rig
from tests.upstreams.audio import streamed

SPEECH = "/v1/audio/speech"
ASKED = {"model": "lab/tts", "input": "Hello.", "voice": "alloy"}
SSE = b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\ndata: {"type":"speech.audio.done","usage":{"input_tokens":1}}\n\n'


async def test_the_sdk_hears_what_the_provider_says(rig: Rig) -> None:
    rig.upstream.speech = streamed(b"ID3", b"\x00\xff" * 100_000, content_type="audio/mpeg")

    async with rig.client.audio.speech.with_streaming_response.create(
        model="oai/tts", input="Hello.", voice={"id": "voice_1"}, speed=1.5, instructions="calm", extra_body={"novel": [1]}
    ) as answer:
        heard = b"".join([data async for data in answer.iter_bytes()])
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.headers["x-trivet-resolved-model"] == "oai/tts"

    assert len(heard) == 200_003
    assert rig.upstream.asked == [
        {"model": "tts", "input": "Hello.", "voice": {"id": "voice_1"}, "speed": 1.5, "instructions": "calm", "novel": [1]}
    ]


async def test_events_pass_as_they_are(rig: Rig) -> None:
    rig.upstream.speech = streamed(SSE)

    async with rig.http.post("/api/llm/audio/speech", json={**ASKED, "stream_format": "sse"}) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "text/event-stream", SSE)


async def test_speech_begins_before_it_ends(rig: Rig) -> None:
    gate = asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
        await response.prepare(request)
        await response.write(b"RIFF")
        await gate.wait()
        await response.write(b"WAVE")
        return response

    rig.upstream.speech = slowly
    async with rig.http.post(SPEECH, json=ASKED) as answer:
        assert await answer.content.readany() == b"RIFF"
        gate.set()
        assert await answer.content.read() == b"WAVE"


async def test_truncated_speech_is_no_whole_one(rig: Rig) -> None:
    rig.upstream.speech = streamed(b"RIFF", content_type="audio/wav", cut=True)

    async with rig.http.post(SPEECH, json=ASKED) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_speech_that_stalls_is_given_up(rig: Rig) -> None:
    async def stalls(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
        await response.prepare(request)
        if (await request.json())["input"] == "late":
            await response.write(b"RIFF")
        await asyncio.Event().wait()
        return response

    rig.upstream.speech = stalls
    async with rig.http.post(SPEECH, json={**ASKED, "model": "hasty/tts"}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (504, "upstream_timeout")
    async with rig.http.post(SPEECH, json={**ASKED, "model": "hasty/tts", "input": "late"}) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


@pytest.mark.parametrize(
    ("content_type", "body"), [("text/html", b"<html>"), ("application/json", b'{"audio": ""}'), ("audio/wav", b"")]
)
async def test_what_is_no_speech_is_the_providers_fault(rig: Rig, content_type: str, body: bytes) -> None:
    rig.upstream.speech = streamed(*([body] if body else []), content_type=content_type)

    async with rig.http.post(SPEECH, json=ASKED) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (502, "upstream_failed")


async def test_the_providers_refusal_is_told(rig: Rig) -> None:
    async def refuses(_: web.Request) -> web.StreamResponse:
        error = {"message": "No such voice.", "param": "voice", "code": "invalid_voice", "type": "invalid_request_error"}
        return web.json_response({"error": error}, status=400)

    rig.upstream.speech = refuses
    with pytest.raises(openai.BadRequestError) as refused:
        await rig.client.audio.speech.create(model="lab/tts", input="Hello.", voice="nobody")
    assert (refused.value.code, refused.value.param) == ("invalid_voice", "voice")


@pytest.mark.parametrize("left_out", ["model", "input"])
async def test_what_is_missing_is_named(rig: Rig, left_out: str) -> None:
    async with rig.http.post(SPEECH, json={key: value for key, value in ASKED.items() if key != left_out}) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, left_out)


async def test_a_client_that_leaves_ends_the_speech(rig: Rig) -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
        await response.prepare(request)
        while True:
            written += 1
            await response.write(bytes(100_000))

    rig.upstream.speech = endless
    answer = await rig.http.post(SPEECH, json=ASKED)
    await answer.content.readany()
    before = -1
    async with asyncio.timeout(30):
        while before != written:
            # A round trip through everything: whoever could go on has done so meanwhile.
            before = written
            await (await rig.http.get("/v1/models")).read()
    assert written < 1000, "a client that does not read stops the provider, long before 100 MB"
    answer.close()
    async with asyncio.timeout(30):
        await rig.upstream.left.wait()


async def test_a_provider_that_cannot_speak_is_an_honest_refusal(rig: Rig) -> None:
    body: Any = {**ASKED, "model": "local/smollm2"}
    async with rig.http.post(SPEECH, json=body) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "unsupported_parameter")
