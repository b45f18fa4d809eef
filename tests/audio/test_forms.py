"""Forms as clients send them, and as nobody should."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.audio.rig import LARGE, TRANSCRIPTIONS, Rig, form
from tests.upstreams.audio import written

LIMITS = {"bridge": {"max_upload_bytes": 3_000_000, "max_body_bytes": 100_000, "body_seconds": 0.5}}


async def test_fields_may_follow_the_file_as_curl_and_node_send_them(rig: Rig) -> None:
    for content in (b"RIFF", LARGE):
        status, body = await rig.post(form(("file", content), ("model", "lab/w"), ("language", "de")))

        heard = rig.upstream.requests.pop()
        assert (status, body) == (200, {"text": "hello"})
        assert heard.has(content)
        assert heard.fields == [("model", "w"), ("language", "de")]
        # Nothing was sent before all was known, and so the size was, too.
        assert "Content-Length" in heard.headers


async def test_fields_after_a_large_file_that_is_streamed_go_on_after_it(rig: Rig) -> None:
    rig.upstream.answer = written("1\n")

    parts = form(("model", "lab/w"), ("language", "de"), ("file", LARGE), ("response_format", "srt"), ("include[]", "logprobs"))
    async with rig.http.post(TRANSCRIPTIONS, data=parts) as answer:
        assert (answer.status, await answer.text()) == (200, "1\n")

    (heard,) = rig.upstream.requests
    assert heard.order == ["model", "language", "file", "response_format", "include[]"]
    assert heard.size == len(LARGE)


@pytest.mark.parametrize(
    ("parts", "param", "told"),
    [
        ([("model", "lab/w"), ("file", LARGE), ("stream", "true")], "stream", "must come before"),
        ([("model", "lab/w"), ("file", LARGE), ("model", "lab/v")], "model", "given twice"),
        ([("model", "lab/w"), ("file", LARGE), ("file", b"RIFF")], "file", "given twice"),
        ([("model", "lab/w"), ("file", b"RIFF"), ("file", b"RIFF")], "file", "given twice"),
        ([("model", "lab/w"), ("language", "de")], "file", "Missing required parameter"),
        ([("file", b"RIFF"), ("language", "de")], "model", "Missing required parameter"),
        ([("file", LARGE), ("language", "de")], "model", "Missing required parameter"),
        ([("model", "lab/w"), ("temperature", "warm"), ("file", b"RIFF")], "temperature", "expected a number"),
        ([("model", "lab/w"), ("file", LARGE), ("temperature", "warm")], "temperature", "expected a number"),
        ([("model", "lab/w"), ("prompt", b"\xff"), ("file", b"RIFF")], "prompt", "Unicode"),
        ([("model", "lab/w"), ("stream", "maybe"), ("file", b"RIFF")], "stream", "expected 'true' or 'false'"),
    ],
)
async def test_what_is_wrong_is_named(rig: Rig, parts: Any, param: str, told: str) -> None:
    status, body = await rig.post(form(*parts))

    assert (status, body["error"]["param"]) == (400, param)
    assert told in body["error"]["message"]


@pytest.mark.parametrize("sections", [LIMITS])
async def test_what_is_too_large_is_refused(rig: Rig) -> None:
    async def much() -> AsyncIterator[bytes]:
        for _ in range(60):
            yield bytes(65536)

    for file in (much(), bytes(4_000_000)):
        status, body = await rig.post(form(("model", "lab/w"), ("file", file)))
        assert (status, body["error"]["param"], body["error"]["code"]) == (413, "file", "payload_too_large")

    status, body = await rig.post(form(("prompt", "x" * 200_000), ("model", "lab/w"), ("file", b"RIFF")))
    assert (status, body["error"]["param"]) == (413, "prompt")


@pytest.mark.parametrize("sections", [LIMITS])
async def test_an_upload_may_take_long_and_must_not_stand_still(rig: Rig) -> None:
    moving, still = asyncio.Event(), asyncio.Event()

    async def slow(gate: asyncio.Event) -> AsyncIterator[bytes]:
        yield LARGE
        await gate.wait()
        yield LARGE[:1000]

    status, body = await rig.post(form(("model", "lab/w"), ("file", slow(still))))
    assert (status, body["error"]["code"]) == (408, "request_timeout")
    moving.set()
    status, _ = await rig.post(form(("model", "lab/w"), ("file", slow(moving))))
    assert status == 200


async def test_only_a_form_is_taken(rig: Rig) -> None:
    refused = [
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"model=lab/w", 415),
        ({"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}, b"", 415),
        ({"Content-Type": "multipart/form-data"}, b"--x--\r\n", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"no form at all", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\nnameless\r\n--x--\r\n", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, _part("model", "lab/w") + _part("file", "RIFF"), 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n", 400),
    ]
    for headers, data, status in refused:
        told, body = await rig.post(data, headers=headers)
        assert told == status, (headers, data, body)
        assert body["error"]["message"]
    assert rig.upstream.requests == []


@pytest.mark.parametrize("content", [b"RIFF", LARGE])
@pytest.mark.parametrize("head", [b'; filename="\xff.wav"', b'; filename="a.wav"\r\nContent-Type: audio/\xff'])
async def test_bytes_that_are_no_text_are_no_name_and_no_type_of_a_file(rig: Rig, head: bytes, content: bytes) -> None:
    file = b'--x\r\nContent-Disposition: form-data; name="file"' + head + b"\r\n\r\n" + content + b"\r\n--x--\r\n"

    status, body = await rig.post(
        io.BytesIO(_part("model", "lab/w") + file), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )

    assert (status, body["error"]["param"]) == (400, "file")
    assert "Unicode" in body["error"]["message"]
    assert rig.upstream.requests == []


async def test_bytes_that_are_no_text_are_no_name_of_a_field(rig: Rig) -> None:
    field = b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nvalue\r\n'
    data = _part("model", "lab/w") + field + _part("file", "RIFF") + b"--x--\r\n"

    status, body = await rig.post(data, headers={"Content-Type": "multipart/form-data; boundary=x"})

    assert (status, body["error"]["message"]) == (400, "The form cannot be read: the name of a part is not valid Unicode.")


async def test_a_key_is_judged_before_the_form_is_read(rig: Rig) -> None:
    never = asyncio.Event()

    async def file() -> AsyncIterator[bytes]:
        yield b"RIFF"
        await never.wait()

    status, _ = await rig.post(form(("model", "lab/w"), ("file", file())), headers={"Authorization": "Bearer wrong"})
    assert status == 401


def _part(name: str, value: str) -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
