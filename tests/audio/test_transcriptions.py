"""What was said in a file comes to the official SDK as the provider told it, in each form and as a stream."""

import json
from typing import Any

import pytest

from tests.audio.rig import LARGE, Rig, form
from tests.upstreams.audio import said, streamed, written

DIARIZED = {
    "task": "transcribe",
    "duration": 2.5,
    "text": "Hi. Yes?",
    "segments": [{"type": "transcript.text.segment", "id": "seg_1", "start": 0.0, "end": 1.0, "text": "Hi.", "speaker": "A"}],
    "usage": {
        "type": "tokens",
        "input_tokens": 14,
        "output_tokens": 5,
        "total_tokens": 19,
        "input_token_details": {"audio_tokens": 14},
    },
}
VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": 1.5,
    "text": "Hi.",
    "segments": [
        {"id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": "Hi.", "tokens": [1, 2], "temperature": 0.0, "avg_logprob": -0.3}
    ],
    "words": [{"word": "Hi", "start": 0.1, "end": 0.4}],
    "usage": {"type": "duration", "seconds": 2},
    "x_groq": {"id": "r"},
}
SRT = "1\n00:00:00,000 --> 00:00:01,500\nHi, ça va?\n"


@pytest.mark.parametrize("content", [b"RIFF", LARGE], ids=["small", "large"])
async def test_the_file_and_every_parameter_reach_the_provider(rig: Rig, content: bytes) -> None:
    answer = await rig.client.audio.transcriptions.create(
        file=("a b.mp3", content),
        model="lab/whisper/large",
        language="de",
        prompt="Grüße",
        temperature=0.2,
        timestamp_granularities=["word", "segment"],
        include=["logprobs"],
        chunking_strategy={"type": "server_vad", "threshold": 0.5},
        known_speaker_names=["A", "B"],
        extra_body={"beam_size": 3},
    )

    (heard,) = rig.upstream.requests
    assert answer.text == "hello"
    assert heard.has(content)
    assert (heard.filename, heard.content_type) == ("a b.mp3", "audio/mpeg")
    assert heard.order[-1] == "file"
    assert sorted(heard.fields) == sorted(
        [
            ("model", "whisper/large"),
            ("language", "de"),
            ("prompt", "Grüße"),
            ("temperature", "0.2"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
            ("include[]", "logprobs"),
            ("chunking_strategy[type]", "server_vad"),
            ("chunking_strategy[threshold]", "0.5"),
            ("known_speaker_names[]", "A"),
            ("known_speaker_names[]", "B"),
            ("beam_size", "3"),
        ]
    )
    # What is known to its end is sent with its length: not every server takes chunks.
    assert ("Content-Length" in heard.headers) is (content != LARGE)


@pytest.mark.parametrize(("asked", "answer"), [("verbose_json", VERBOSE), ("diarized_json", DIARIZED)])
async def test_json_comes_back_with_all_that_the_provider_said(rig: Rig, asked: Any, answer: dict[str, Any]) -> None:
    rig.upstream.answer = said(answer)

    status, body = await rig.post(form(("model", "oai/w"), ("response_format", asked), ("file", b"RIFF")))

    assert (status, body) == (200, answer)
    rig.upstream.answer = said(answer)
    parsed = await rig.client.audio.transcriptions.create(file=("a.wav", b"RIFF"), model="oai/w", response_format=asked)
    assert parsed.text == answer["text"]
    assert parsed.usage.type == answer["usage"]["type"]


@pytest.mark.parametrize("asked", ["text", "srt", "vtt"])
async def test_text_comes_back_as_it_was_written(rig: Rig, asked: Any) -> None:
    kind = "text/vtt" if asked == "vtt" else "text/plain"
    rig.upstream.answer = written(SRT, kind)

    raw = await rig.client.audio.transcriptions.with_raw_response.create(
        file=("a.wav", b"RIFF"), model="lab/w", response_format=asked
    )

    assert raw.text() == SRT if callable(raw.text) else raw.text == SRT
    assert raw.headers["content-type"] == f"{kind}; charset=utf-8"


async def test_a_translation_goes_to_its_own_path(rig: Rig) -> None:
    rig.upstream.answer = written(SRT)

    status = (
        await rig.http.post(
            "/api/llm/audio/translations", data=form(("model", "lab/w"), ("file", b"RIFF"), ("response_format", "srt"))
        )
    ).status

    assert status == 200
    assert rig.upstream.requests[0].fields == [("model", "w"), ("response_format", "srt")]


async def test_events_stream_as_they_come_and_unknown_ones_pass(rig: Rig) -> None:
    events = [
        {"type": "transcript.text.delta", "delta": "Hi", "logprobs": [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}]},
        {"type": "transcript.text.segment", "id": "seg_1", "start": 0.0, "end": 1.0, "text": "Hi", "speaker": "A"},
        {"type": "transcript.novel", "x": {"y": 1}},
        {"type": "transcript.text.done", "text": "Hi", "usage": DIARIZED["usage"]},
    ]
    rig.upstream.answer = streamed(*(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events))

    stream = await rig.client.audio.transcriptions.create(file=("a.wav", LARGE), model="lab/w", stream=True)
    received = [event async for event in stream]

    assert [event.to_dict() for event in received] == events
    assert ("stream", "true") in rig.upstream.requests[0].fields


async def test_a_model_that_does_not_stream_gives_one_event(rig: Rig) -> None:
    stream = await rig.client.audio.transcriptions.create(file=("a.wav", b"RIFF"), model="lab/w", stream=True)

    assert [event.to_dict() async for event in stream] == [{"type": "transcript.text.done", "text": "hello"}]


async def test_a_provider_without_audio_is_an_honest_refusal(rig: Rig) -> None:
    status, body = await rig.post(form(("model", "local/smollm2"), ("file", b"RIFF")))

    assert status == 400
    assert body["error"]["code"] == "unsupported_parameter"
    assert body["error"]["param"] == "model"


@pytest.mark.parametrize("place", [0, 2], ids=["before the file", "after it"])
async def test_a_private_address_in_a_parameter_is_refused(rig: Rig, place: int) -> None:
    parts: list[Any] = [("model", "lab/whisper"), ("file", b"sound")]
    parts.insert(place, ("url", "http://10.0.0.1/meeting.mp3"))
    status, told = await rig.post(form(*parts))
    assert (status, told["error"]["param"]) == (400, "url")
