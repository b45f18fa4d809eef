"""Chunks whose like was read before: they say what they would have said had they been read."""

import re
from typing import Any, cast

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.model.answering import Answering
from trivet.kernel.codec.runs import runs_of
from trivet.kernel.errors import ServiceError
from trivet.model_service.adapters.openai_chat_shapes import ChunkShapes, cut, start_of
from trivet.model_service.adapters.openai_chat_stream import ChunkStream, Told
from trivet.model_service.adapters.openai_chat_text import TextPieces
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_http import UpstreamHttp

HTTP = cast("UpstreamHttp", Answering({}, []))
HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
MADE_UP = re.compile("call_[0-9a-f]{24}")
"""An id that a call gets here, where its provider gives it none."""


class Unknowing(ChunkShapes):
    """Remembers nothing, so that each chunk is read."""

    def learn(self, *_: Any, **__: Any) -> None:
        """Nothing is known later."""


def chunk(delta: dict[str, Any], head: dict[str, Any] = HEAD, **choice: Any) -> dict[str, Any]:
    return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None} | choice]}


def arguments(text: object, index: object = 0) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


def begun(index: int, call_id: str, text: str = "") -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": {"name": "f", "arguments": text}}]}


def said(shapes: ChunkShapes, sent: list[dict[str, Any]]) -> list[object]:
    """What a stream says, chunk by chunk, and how it breaks."""
    stream = ChunkStream(HTTP, shapes, functions=False, merge_text=False)
    told: list[Told] = []
    found: list[object] = []
    head: object = None
    for one in sent:
        try:
            stream.read([SseEvent("", orjson.dumps(one))], told)
        except ServiceError as error:
            found.append(error.message)
            break
    for this in told:
        head, message = (head, this.chunk()) if isinstance(this, TextPieces) else this
        found += [(head, MADE_UP.sub("call_", str(single))) for single in runs_of(message.DESCRIPTOR).singles(message)]
    return [*found, stream.repair.finished]


TEXTS = st.sampled_from(["", "a", 'said "so"\\', "\u2028ü\n", '"content":"x"'])
DELTAS = st.one_of(
    st.builds(lambda text: {"content": text}, TEXTS),
    st.builds(lambda text: {"role": "assistant", "content": text}, TEXTS),
    st.builds(lambda text: {"role": "assistant", "content": text, "refusal": None}, TEXTS),
    st.builds(lambda text: {"content": None, "reasoning_content": text}, TEXTS),
    st.builds(lambda text: {"content": text, "note": {"content": "other"}}, TEXTS),
    st.builds(lambda text: {"note": {"content": text}}, TEXTS),
    st.builds(lambda text: {"content": [{"type": "text", "text": text}]}, TEXTS),
    st.builds(arguments, TEXTS, st.sampled_from([0, 1, None])),
    st.builds(lambda text: arguments(text) | {"content": text}, TEXTS),
    st.builds(begun, st.integers(0, 1), st.sampled_from(["k", "l", ""]), TEXTS),
    st.just({}),
    st.just({"tool_calls": 5}),
)
CHUNKS = st.builds(
    lambda delta, extra, **choice: chunk(delta, **choice) | extra,
    DELTAS,
    st.sampled_from([{}, {}, {}, {"usage": None}, {"system_fingerprint": "f"}, {"id": "c2"}, {"created": "late"}, {"x": 1}]),
    index=st.sampled_from([0, 0, 0, 0, 1]),
    finish_reason=st.sampled_from([None, None, None, "stop", ""]),
)


@given(st.lists(st.lists(CHUNKS, max_size=6), max_size=4), st.lists(CHUNKS, max_size=6))
def test_a_stream_says_the_same_whatever_was_read_before(earlier: list[list[dict[str, Any]]], sent: list[dict[str, Any]]) -> None:
    shapes = ChunkShapes()
    for stream in earlier:
        said(shapes, stream)

    assert said(shapes, sent) == said(Unknowing(), sent)


def test_chunks_of_other_streams_are_known_again() -> None:
    def stream(head: dict[str, Any], text: str, call_id: str) -> list[dict[str, Any]]:
        deltas = [{"role": "assistant", "content": ""}, {"content": text}, begun(0, call_id), arguments(text)]
        return [*(chunk(delta, head) for delta in deltas), chunk({}, head, finish_reason="stop")]

    shapes = ChunkShapes()
    said(shapes, stream(HEAD, "Hi", "k1"))
    other = stream(HEAD | {"id": "c2", "created": 8}, "Ho", "k2")

    for position, one in enumerate(other):
        data = orjson.dumps(one)
        before, _, after = cut(data, len(start_of(data)[0]))
        assert shapes.get((position > 0, before, after)) is not None
    assert said(shapes, other) == said(Unknowing(), other)


def test_what_a_model_has_said_is_not_remembered() -> None:
    shapes = ChunkShapes()
    secret = "a secret"
    said(
        shapes,
        [
            chunk({"role": "assistant", "content": secret}),
            chunk({"reasoning_content": secret}),
            chunk({"content": secret, "refusal": secret}),
            chunk({"content": secret}),
            chunk(begun(0, secret, secret)),
            chunk(begun(1, secret + "!")),
            chunk(arguments(secret)),
            chunk(arguments(secret) | {"content": secret}),
            chunk({"content": [{"type": "text", "text": secret}]}),
            chunk({"content": secret}, finish_reason="stop"),
        ],
    )

    assert shapes.known
    for (_, before, after), shape in shapes.known.items():
        assert secret.encode() not in before + after
        assert secret not in str(shape.whole)
