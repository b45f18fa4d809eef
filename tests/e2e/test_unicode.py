"""Text of every kind arrives as it was written, in both directions, whatever it is cut into on the way."""

import json
import unicodedata

import pytest

from tests.checkers.chat_stream import check_chat_sse
from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.answers import Answer
from tests.e2e.bodies import USER
from tests.e2e.frames import data_of
from tests.e2e.runs import DONE, calling, play, results, run, text
from tests.e2e.shapes import Shape
from tests.upstreams.scripted import END, piece, sse, stream_head

pytestmark = pytest.mark.asyncio(loop_scope="session")

TORTURE = {
    "line separators": "a\u2028b\u2029c\u0085d\x0be\x0cf\rg\nh\r\ni",
    "beyond the basic plane": "😀👩‍👩‍👧‍👦🏳️‍🌈𒀀𐍈 \U0010ffff",
    "right to left": "\u202eabc\u202c שלום مرحبا \u200f\u200e",
    "nothing and control": "a\x00b\x01\x1f\x7f\x80\x9f",
    "combining": unicodedata.normalize("NFD", "Zürich é̂") + "Å\u0323",
    "noncharacters": "\ufffe\uffff\ufdd0\ufffd\ufeff",
    "JSON and SSE": '"\\\\u0041\\n data: [DONE]\n\nevent: x\n: y {"a":1}</script>',
    "long": "ß水😀" * 20_000,
}
of_every_text = pytest.mark.parametrize("words", TORTURE.values(), ids=TORTURE)
of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])


def shredded(said: Answer, dialect: str, *, ascii_only: bool) -> list[bytes]:
    """The stream of the answer in pieces of one to seven bytes, which cut characters, lines and frames apart."""
    if dialect == "lab":
        whole = sse(*said.chunks()) if ascii_only else b"".join(map(_written_out, said.chunks())) + b"data: [DONE]\n\n"
    else:
        named = [f"event: {one['type']}\n".encode() for one in said.events()]
        whole = b"".join(name + _written_out(one) for name, one in zip(named, said.events(), strict=True))
    size = 1 + len(whole) // 500
    return [piece(whole[at : at + size]) for at in range(0, len(whole), size)]


def _written_out(one: object) -> bytes:
    return f"data: {json.dumps(one, ensure_ascii=False)}\n\n".encode()


@of_every_text
@of_each_dialect
@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "written out"])
async def test_what_a_model_says_arrives(one: Shape, words: str, dialect: str, ascii_only: bool) -> None:
    for path, asked in (
        ("/v1/responses", {"model": f"{dialect}/m", "input": "go", "stream": True}),
        ("/v1/chat/completions", {"model": f"{dialect}/m", "messages": USER, "stream": True}),
    ):
        one.upstream.play(stream_head(), *shredded(Answer(text=(words,)), dialect, ascii_only=ascii_only), END)
        raw = await one.raw(path, asked)
        # Also for clients to whom more characters end a line than SSE knows of.
        assert raw.decode().splitlines() == raw.decode().split("\n")[:-1]
        if path == "/v1/responses":
            assert check_responses_sse(raw) == []
            assert data_of(raw)[-1]["response"]["output"][0]["content"][0]["text"] == words
        else:
            assert check_chat_sse(raw) == []
            assert text(data_of(raw)) == words


@of_every_text
async def test_what_a_tool_is_asked_and_says_arrives(shape: Shape, words: str) -> None:
    play(shape.upstream, calling(("say", {"text": words})), DONE)

    raw = await shape.raw("/v1/agent/responses", run())

    assert check_chat_sse(raw, agent=True) == []
    assert results(data_of(raw)) == {"call_0": words}
    assert shape.upstream.requests[-1].body["messages"][-1]["content"] == words


@of_every_text
@of_each_dialect
async def test_what_a_caller_says_arrives(shape: Shape, words: str, dialect: str) -> None:
    for _ in range(2):
        shape.upstream.play(DONE.script(dialect, streamed=False))

    await shape.post("/v1/responses", {"model": f"{dialect}/m", "input": words, "instructions": words})
    await shape.post("/v1/chat/completions", {"model": f"{dialect}/m", "messages": [{"role": "user", "content": words}]})

    for request in shape.upstream.requests:
        assert json.dumps(words) in json.dumps(request.body)
