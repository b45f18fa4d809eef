"""What goes wrong in the middle of an upload ends both sides of it, and is told to whoever is still there."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from aiohttp import web

from tests.audio.rig import LARGE, METADATA, TRANSCRIPTIONS, Rig, form
from tests.upstreams.audio import Heard, said, streamed, written
from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.client import connect
from trivet.model.v1 import audio_pb2 as pb
from trivet.model.v1.audio_service_pb2_grpc import AudioServiceStub

PIECE = bytes(65536)


async def endless(gate: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    yield LARGE
    if gate is not None:
        await gate.wait()
    while True:
        yield PIECE


async def test_a_client_that_leaves_ends_the_upstream_call(rig: Rig) -> None:
    upload = asyncio.ensure_future(rig.post(form(("model", "lab/w"), ("file", endless(asyncio.Event())))))
    await rig.upstream.until(lambda: bool(rig.upstream.requests) and rig.upstream.requests[0].size > 100_000)

    upload.cancel()

    async with asyncio.timeout(30):
        await rig.upstream.left.wait()


@pytest.mark.parametrize(("status", "told"), [(401, 502), (413, 413), (429, 429)])
async def test_an_answer_before_the_end_ends_the_upload(rig: Rig, status: int, told: int) -> None:
    async def refuses(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "No."}}, status=status)

    rig.upstream.before = refuses
    gate = asyncio.Event()

    got, body = await rig.post(form(("model", "lab/w"), ("file", endless(gate))))

    assert got == told
    assert body["error"]["message"]


async def test_an_upstream_that_dies_in_the_middle_is_told(rig: Rig) -> None:
    async def dies(request: web.Request) -> web.StreamResponse:
        await request.content.readexactly(1_000_000)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    rig.upstream.before = dies

    status, body = await rig.post(form(("model", "lab/w"), ("file", endless())))

    assert (status, body["error"]["code"]) == (502, "upstream_failed")


async def test_an_upstream_that_says_nothing_is_given_up(rig: Rig) -> None:
    async def silent(_: web.Request, __: Heard) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    rig.upstream.answer = silent

    status, body = await rig.post(form(("model", "hasty/w"), ("file", LARGE)))

    assert (status, body["error"]["code"]) == (504, "upstream_timeout")


@pytest.mark.parametrize(
    "answer",
    [
        streamed(b"<html>", content_type="text/html"),
        streamed(b"data: {}\n\n"),
        written("not JSON", "application/json"),
        written("words"),
        said([]),
        said({"text": 3}),
        said({"error": {"message": "Broken.", "type": "server_error"}}),
    ],
)
async def test_what_is_no_transcription_is_the_providers_fault(rig: Rig, answer: Any) -> None:
    rig.upstream.answer = answer

    status, body = await rig.post(form(("model", "lab/w"), ("file", b"RIFF")))

    assert (status, body["error"]["code"]) == (502, "upstream_failed")


@pytest.mark.parametrize(
    "answer",
    [
        streamed(b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\n'),
        streamed(b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\ndata: {"ty', cut=True),
        streamed(b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\n', b'data: {"error":{"message":"x"}}\n\n'),
        streamed(b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\n', b"data: nonsense\n\n"),
    ],
    ids=["ends early", "cut", "error", "no JSON"],
)
async def test_a_stream_that_breaks_says_so(rig: Rig, answer: Any) -> None:
    rig.upstream.answer = answer

    async with rig.http.post(TRANSCRIPTIONS, data=form(("model", "lab/w"), ("stream", "true"), ("file", b"RIFF"))) as got:
        text = await got.text()

    assert '"error":{' in text
    assert "transcript.text.done" not in text


async def test_a_slow_provider_stops_the_client(rig: Rig) -> None:
    """200 MB are sent to a provider that reads nothing: what is under way stays a fraction of it."""
    sent, gate = 0, asyncio.Event()

    async def much() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 200_000_000:
            sent += len(PIECE)
            yield PIECE

    async def reached(_: int) -> None:
        await gate.wait()

    rig.upstream.reached = reached
    upload = asyncio.ensure_future(rig.post(form(("model", "lab/w"), ("file", much()))))
    await rig.upstream.until(lambda: bool(rig.upstream.requests) and rig.upstream.requests[0].size > 0)
    before = -1
    async with asyncio.timeout(30):
        while before != sent:
            before = sent
            await (await rig.http.get("/v1/models")).read()

    # Of this, the sockets' buffers and gRPC's window, which grows with the bandwidth that it measures, hold the most.
    assert sent < 60_000_000
    upload.cancel()
    gate.set()
    async with asyncio.timeout(30):
        await rig.upstream.left.wait()


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "parameters"),
        ([pb.TranscriptionUpload(content=b"RIFF")], ""),
        ([pb.TranscriptionUpload(parameters=pb.CreateTranscriptionRequest())], "model"),
    ],
)
async def test_over_grpc_the_parameters_come_first(rig: Rig, messages: list[pb.TranscriptionUpload], param: str) -> None:
    async with connect(rig.grpc) as channel:
        call = AudioServiceStub(channel).CreateTranscription(iter(messages), metadata=METADATA)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call

    error = from_rpc_error(refused.value)
    assert error.reason == "INVALID_REQUEST"
    assert param in error.param


@pytest.mark.parametrize("size", [3, 5])
async def test_over_grpc_a_file_is_as_large_as_was_said(rig: Rig, size: int) -> None:
    file = pb.AudioFile(filename="a.wav", size=size)
    messages = [
        pb.TranscriptionUpload(parameters=pb.CreateTranscriptionRequest(model="lab/w", file=file)),
        pb.TranscriptionUpload(content=b"RIFF"),
    ]
    async with connect(rig.grpc) as channel:
        call = AudioServiceStub(channel).CreateTranscription(iter(messages), metadata=METADATA)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call

    error = from_rpc_error(refused.value)
    assert (error.reason, error.param) == ("INVALID_REQUEST", "file.size")
