"""Text that comes piece by piece is told as what comes at once, in both shapes, however the upstream writes and whatever follows it.

The upstream waits before each piece until the client has the one before: so each comes while everybody waits for it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.checkers.chat_stream import check_chat_sse
from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.bodies import PATHS, body
from tests.e2e.frames import Json, data_of, read_until
from tests.e2e.shapes import AUTHORIZATION, Shape
from tests.e2e.test_same_events import steady
from tests.model.chat_chunks import chunk
from tests.upstreams.scripted import CLOSE, END, Step, piece, sse, stream_head

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_face = pytest.mark.parametrize("face", ["responses", "chat"])
CHECKS = {"responses": check_responses_sse, "chat": check_chat_sse}
WORDS = [f"word{number} " for number in range(12)]
ODD = ['say "hi" ', "back\\slash ", "line\nbreak ", "\u2028 and \u0085 ", "\U0001f422 ", "", "data: [DONE]\n\n", "% %d %b "]
FIRST, LAST = chunk({"role": "assistant", "content": ""}), chunk({}, "stop")


def said(text: str, **more: Any) -> bytes:
    return sse(chunk({"content": text}), done=False) if not more else sse(chunk({"content": text}) | more, done=False)


def texts(face: str, raw: bytes) -> str:
    if face == "responses":
        return "".join(event["delta"] for event in data_of(raw) if event["type"] == "response.output_text.delta")
    return "".join(choice["delta"].get("content") or "" for event in data_of(raw) for choice in event["choices"])


class Pace:
    """A script that waits before each of its pieces, and the client that lets it go on."""

    def __init__(self, pieces: Sequence[bytes], *, end: Sequence[Step] = ()) -> None:
        self.gates = [asyncio.Event() for _ in pieces]
        steps: list[Step] = [stream_head(), piece(sse(FIRST, done=False))]
        for gate, data in zip(self.gates, pieces, strict=True):
            steps += [gate, piece(data)]
        self.steps = [*steps, *(end or (piece(sse(LAST)), END))]


@asynccontextmanager
async def asking(shape: Shape, face: str, pace: Pace, **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    shape.upstream.play(pace.steps)
    asked = body(face, "lab/m", streamed=True) | ({"store": False} if face == "responses" else {}) | more
    pace.gates[0].set()
    async with shape.http.post(PATHS[face], json=asked) as answer:
        yield answer


async def paced(shape: Shape, face: str, pieces: Sequence[tuple[bytes, bytes]], *, end: Sequence[Step] = ()) -> bytes:
    """The whole stream; each of the pieces comes when the client has seen the mark of the one before, if that has any."""
    pace, raw = Pace([data for data, _ in pieces], end=end), b""
    async with asking(shape, face, pace) as answer:
        for gate, (_, mark) in zip(pace.gates, pieces, strict=True):
            gate.set()
            if mark and mark not in raw:
                raw += await read_until(answer, mark)
        return raw + await answer.read()


async def at_once(shape: Shape, face: str, pieces: Sequence[tuple[bytes, bytes]]) -> bytes:
    whole = b"".join(data for data, _ in pieces)
    shape.upstream.play([stream_head(), piece(sse(FIRST, done=False) + whole + sse(LAST)), END])
    asked = body(face, "lab/m", streamed=True) | ({"store": False} if face == "responses" else {})
    return await shape.raw(PATHS[face], asked)


def marked(*spoken: str) -> list[tuple[bytes, bytes]]:
    return [(said(text), json.dumps(text)[1:-1].encode() if text.isascii() and "\n" not in text else b"") for text in spoken]


def cut(data: bytes, *places: int) -> list[tuple[bytes, bytes]]:
    edges = [0, *places, len(data)]
    return [(data[begin:end], b"") for begin, end in pairwise(edges)]


LAYOUTS = {
    "one by one": marked(*WORDS),
    "with odd characters": marked(*WORDS[:4], *ODD, *WORDS[4:]),
    "several at a time": [*marked(*WORDS[:4]), (b"".join(map(said, WORDS[4:9])), b"word8"), *marked(*WORDS[9:])],
    "cut within an event": [*marked(*WORDS[:4]), *cut(said(WORDS[4]) + said(WORDS[5]), 20, 90, 140), *marked(*WORDS[6:])],
    "cut between its line breaks": [*marked(*WORDS[:4]), *cut(said(WORDS[4]), len(said(WORDS[4])) - 1), *marked(*WORDS[5:])],
    "with other line breaks": [*marked(*WORDS[:4]), (said(WORDS[4]).replace(b"\n", b"\r\n"), b"word4"), *marked(*WORDS[5:])],
    "with comments between": [*marked(*WORDS[:4]), (b": busy\n\n" + said(WORDS[4]), b"word4"), *marked(*WORDS[5:])],
    "with another layout between": [*marked(*WORDS[:4]), (said("odd ", note=1), b"odd"), *marked(*WORDS[5:])],
    "with a refusal between": [
        *marked(*WORDS[:4]),
        (sse(chunk({"refusal": "no "}), done=False), b"no "),
        *marked(*WORDS[5:]),
    ],
    "with a call behind": [
        *marked(*WORDS[:6]),
        (sse(chunk({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}), done=False), b""),
    ],
}  # fmt: skip


@of_each_face
@pytest.mark.parametrize("pieces", LAYOUTS.values(), ids=LAYOUTS)
async def test_it_is_the_same_as_at_once(shape: Shape, face: str, pieces: list[tuple[bytes, bytes]]) -> None:
    bit_by_bit, whole = await paced(shape, face, pieces), await at_once(shape, face, pieces)

    assert CHECKS[face](bit_by_bit) == []
    assert texts(face, bit_by_bit) == texts(face, whole)
    assert steady(data_of(bit_by_bit)) == steady(data_of(whole))


async def test_a_stream_that_breaks_counts_what_went_out_before(shape: Shape) -> None:
    raw = await paced(shape, "responses", marked(*WORDS), end=(CLOSE,))

    events: list[Json] = data_of(raw)
    assert check_responses_sse(raw) == []
    assert texts("responses", raw) == "".join(WORDS)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "".join(WORDS)


async def test_a_run_of_an_agent_remembers_what_went_out(shape: Shape) -> None:
    """The text before a call is in the conversation that the model is asked with next."""
    add = {"index": 0, "id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a":1,"b":2}'}}
    calls = sse(chunk({"tool_calls": [add]}), chunk({}, "tool_calls"))
    pace, raw = Pace([said(word) for word in WORDS], end=(piece(calls), END)), b""
    async with asking(shape, "agent", pace, mcp_servers=[{"integration_fqn": "tools"}]) as answer:
        shape.upstream.play([stream_head(), piece(sse(FIRST, chunk({"content": "Done."}), LAST)), END])
        for gate, word in zip(pace.gates, WORDS, strict=True):
            gate.set()
            raw += await read_until(answer, word.strip().encode())
        raw += await answer.read()

    assert check_chat_sse(raw, agent=True) == []
    assert shape.upstream.requests[-1].body["messages"][-2]["content"] == "".join(WORDS)
    assert "".join([*WORDS, "Done."]) == "".join(
        choice["delta"].get("content") or ""
        for event in data_of(raw)
        for choice in event["choices"]
        if choice["delta"].get("role") != "tool"
    )


async def test_a_response_that_is_kept_is_kept_as_it_was_told(shape: Shape) -> None:
    pace, raw = Pace([said(word) for word in WORDS]), b""
    async with asking(shape, "responses", pace, store=True) as answer:
        for gate, word in zip(pace.gates, WORDS, strict=True):
            gate.set()
            raw += await read_until(answer, word.strip().encode())
        raw += await answer.read()

    events: list[Json] = data_of(raw)
    url = f"/v1/responses/{events[0]['response']['id']}"
    async with shape.http.get(url, params={"stream": "true"}) as answer:
        assert data_of(await answer.read()) == events
    assert texts("responses", raw) == "".join(WORDS)
    async with shape.http.get(url, params={"stream": "true", "starting_after": "7"}) as answer:
        assert data_of(await answer.read()) == events[8:]


@of_each_face
async def test_a_client_of_http_1_0_gets_it_without_chunks(shape: Shape, face: str) -> None:
    pace, raw = Pace([said(word) for word in WORDS]), b""
    shape.upstream.play(pace.steps)
    sent = json.dumps(body(face, "lab/m", streamed=True) | ({"store": False} if face == "responses" else {})).encode()
    address = URL(shape.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(
        f"POST {PATHS[face]} HTTP/1.0\r\nAuthorization: {AUTHORIZATION}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(sent)}\r\n\r\n".encode()
        + sent
    )
    head = await reader.readuntil(b"\r\n\r\n")
    for gate, word in zip(pace.gates, WORDS, strict=True):
        gate.set()
        raw += await reader.readuntil(word.strip().encode())
    raw += await reader.read()
    writer.close()

    assert head.startswith(b"HTTP/1.0 200 OK")
    assert CHECKS[face](raw) == []
    assert texts(face, raw) == "".join(WORDS)


@of_each_face
async def test_a_client_that_leaves_while_text_comes_ends_the_call(shape: Shape, face: str) -> None:
    pace = Pace([said(word) for word in WORDS])
    async with asking(shape, face, pace) as answer:
        for gate, word in list(zip(pace.gates, WORDS, strict=True))[:8]:
            gate.set()
            await read_until(answer, word.strip().encode())
        abandoned = shape.upstream.abandoned
        answer.close()

    await shape.upstream.until(lambda: shape.upstream.abandoned > abandoned)


@of_each_face
async def test_a_client_that_does_not_read_loses_nothing(shape: Shape, face: str) -> None:
    long = [f"{number}:" + "x" * 20_000 + " " for number in range(400)]
    pieces = [(said(text), b"") for text in long]
    raw = await paced(shape, face, [*marked(*WORDS[:4]), *pieces])

    assert CHECKS[face](raw) == []
    assert texts(face, raw) == "".join([*WORDS[:4], *long])
