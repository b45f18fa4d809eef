"""A model's text in many pieces: read by their likeness, told as runs to who accepts them, and the same for everybody."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.model.answering import Answering, servicer, to_chat, to_responses
from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunk
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.runs import ACCEPTED, without_runs
from trivet.kernel.codec.sse import stream_codec
from trivet.kernel.testing import TRANSPORTS, Transport, serving
from trivet.model.v1 import model_service_pb2
from trivet.model.v1.model_service_pb2_grpc import ModelServiceStub, add_ModelServiceServicer_to_server
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_chat_text import TextTemplate
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.settings import ProviderSettings

CHAT = stream_codec(model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].methods_by_name["StreamChatCompletion"])
WORDS = [f"word{n} " for n in range(8)]


def chunk(text: str | None, **said: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return (
        {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
        | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
        | said
    )


END = chunk(None) | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def learned(**said: Any) -> TextTemplate:
    template = TextTemplate()
    for text in ("a", "b"):
        sent = chunk(text, **said)
        template.learn(orjson.dumps(sent), {}, codec_for(ChatCompletionChunk).decode({"choices": sent["choices"]} | said))
    return template


def written(text: str) -> bytes:
    return b"data: " + orjson.dumps(chunk(text)) + b"\n\n"


def events(*chunks: dict[str, Any]) -> list[SseEvent]:
    return [SseEvent("", orjson.dumps(one)) for one in chunks]


@given(st.lists(st.text()))
def test_texts_are_read_as_a_parser_would(texts: list[str]) -> None:
    sent = events(*map(chunk, texts))

    assert learned().texts(sent, 0) == [orjson.loads(event.data)["choices"][0]["delta"]["content"] for event in sent]


@given(st.lists(st.text(), min_size=1))
def test_texts_are_read_from_the_bytes_of_events(texts: list[str]) -> None:
    assert learned().texts_of(b"".join(map(written, texts))) == texts


@pytest.mark.parametrize(
    "data",
    [
        b"",
        written("a")[:-1],
        written("a")[1:],
        written("a") + b"\n",
        written("a") + b": ping\n\n",
        b": ping\n\n" + written("a"),
        b"event: error\n" + written("a"),
        written("a").replace(b"\n", b"\r\n"),
        written("a").replace(b"data: ", b"data:"),
        written("a") + b"data: [DONE]\n\n",
        written("a") + b"\n" + written("b"),
        b"data: " + orjson.dumps(chunk("a")).replace(b'"a"', b'"a\n"') + b"\n\n",
        b"data: " + orjson.dumps(chunk("a")).replace(b'"a"', b'"a","b"') + b"\n\n",
        b"data: " + orjson.dumps(chunk("a")).replace(b'"a"', b"7") + b"\n\n",
        b"data: " + orjson.dumps(chunk("a")).replace(b'"a"', b"") + b"\n\n",
        written("a") + b"data: " + orjson.dumps(chunk("a")).replace(b'"a"', b"null") + b"\n\n",
    ],
)
def test_bytes_with_anything_else_in_them_are_left_to_the_parser(data: bytes) -> None:
    assert learned().texts_of(data) == []


def test_before_a_text_was_learned_and_after_it_was_forgotten_there_are_none() -> None:
    assert TextTemplate().texts_of(written("a")) == []
    template = learned()
    template.forget()
    assert template.texts_of(written("a")) == []


@pytest.mark.parametrize(
    "text",
    [
        b'"a","role":"tool"',
        b"5",
        b"null",
        b'["a"]',
        b'"a","b"',
        b"",
        b'"a',
        b'"\xff"',
        b'"a"}},{"index":1,"delta":{"content":"b"',
    ],
)
def test_what_is_no_string_in_the_place_of_the_text_is_left_to_the_parser(text: bytes) -> None:
    before, _, after = orjson.dumps(chunk("CUT")).partition(b'"CUT"')

    assert learned().texts([SseEvent("", before + text + after)], 0) == []


@pytest.mark.parametrize("different", [END, chunk("b", id="c2"), chunk("b", usage={}), chunk("b", created=8)])
def test_reading_stops_where_a_chunk_looks_different(different: dict[str, Any]) -> None:
    sent = events(chunk("a"), different, chunk("c"))

    assert learned().texts(sent, 0) == ["a"]
    assert learned().texts(sent, 1) == []


def test_an_event_with_a_name_is_no_chunk_of_text() -> None:
    assert learned().texts([SseEvent("error", orjson.dumps(chunk("a")))], 0) == []


def test_another_string_under_the_same_key_is_not_taken_for_the_text() -> None:
    odd = {"note": {"content": "a"}}
    template = TextTemplate()
    for text in ("a", "b"):
        sent = odd | chunk(text)
        template.learn(orjson.dumps(sent), {}, codec_for(ChatCompletionChunk).decode(odd | {"choices": sent["choices"]}))

    assert template.texts(events(odd | chunk("c")), 0) == []


def test_where_each_chunk_has_something_of_its_own_it_is_no_more_tried() -> None:
    template = TextTemplate()
    for n in range(40):
        sent = chunk("a", extra_field=n)
        template.learn(
            orjson.dumps(sent), {}, codec_for(ChatCompletionChunk).decode({"choices": sent["choices"], "extra_field": n})
        )

    assert template.texts(events(chunk("a", extra_field=39)), 0) == []


class InOnePiece(Answering):
    """All events of a stream at once."""

    async def post_stream(self, path: str, body: Any, **options: Any) -> Any:
        yield [event async for events in super().post_stream(path, body, **options) for event in events]


STREAMS = {
    "plain": [chunk("", choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]), *map(chunk, WORDS), END],
    "a key of its own": [chunk(word, provider="x") for word in WORDS] + [END],
    "keys of null": [
        chunk(None, choices=[{"index": 0, "delta": {"content": word, "refusal": None, "reasoning": None}}]) for word in WORDS
    ]
    + [END],
    "a tool's call between": [
        *map(chunk, WORDS[:5]),
        chunk(None, choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "k", "function": {"name": "f"}}]}}]),
        *map(chunk, WORDS[5:]),
        END,
    ],
    "two answers in turn": [
        chunk(None, choices=[{"index": index, "delta": {"content": word}, "finish_reason": None}])
        for word in WORDS
        for index in (0, 1)
    ]
    + [END, END | {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}],
    "text after the end": [*map(chunk, WORDS[:4]), END, *map(chunk, WORDS[4:])],
    "a fingerprint that changes": [*map(chunk, WORDS[:4]), *(chunk(w, system_fingerprint="f2") for w in WORDS[4:]), END],
}


@asynccontextmanager
async def asking(http: Answering, transport: Transport = "in-process") -> AsyncIterator[ModelServiceStub]:
    async with serving(add_ModelServiceServicer_to_server, servicer(http), transport=transport) as channel:
        yield ModelServiceStub(channel)


async def chat_chunks(http: Answering, *metadata: tuple[str, str]) -> list[Any]:
    """The chunks as a client over HTTP reads them."""
    async with asking(http) as stub:
        stream = CHAT.open()
        written = [stream.frames(batch) async for batch in stub.StreamChatCompletion(to_chat("chat"), metadata=metadata)]
    return [json.loads(frame[6:]) for frame in b"".join(written).decode().split("\n\n") if frame]


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_says_the_same_however_its_chunks_come_and_whoever_asks(name: str) -> None:
    one_by_one = await chat_chunks(Answering({}, STREAMS[name]), ACCEPTED)
    together = await chat_chunks(InOnePiece({}, STREAMS[name]), ACCEPTED)
    as_singles = await chat_chunks(InOnePiece({}, STREAMS[name]))

    assert one_by_one == together == as_singles
    said = [choice["delta"].get("content") or "" for one in together for choice in one["choices"] if choice["index"] == 0]
    assert "".join(said) == "".join(WORDS[:4] if name == "text after the end" else WORDS)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_who_accepts_runs_gets_them_and_nobody_else(transport: Transport) -> None:
    async with asking(InOnePiece({}, STREAMS["plain"]), transport) as stub:
        accepted = [
            one async for batch in stub.StreamChatCompletion(to_chat("chat"), metadata=(ACCEPTED,)) for one in batch.chunks
        ]
        chunks = [one async for batch in stub.StreamChatCompletion(to_chat("chat")) for one in batch.chunks]

    assert WORDS[1:] in [list(one.contents) for one in accepted]
    assert not any(one.contents for one in chunks)
    assert [one.choices[0].delta.content for one in chunks if one.choices and one.choices[0].delta.content] == WORDS


async def test_a_response_counts_each_piece_of_a_run() -> None:
    async with asking(InOnePiece({}, STREAMS["plain"])) as stub:
        said = [
            event async for batch in stub.StreamResponse(to_responses("chat"), metadata=(ACCEPTED,)) for event in batch.events
        ]
        singles = [event async for batch in stub.StreamResponse(to_responses("chat")) for event in batch.events]

    runs = [event.output_text_delta for event in said if event.HasField("output_text_delta") and event.output_text_delta.deltas]
    done = next(event.output_text_done for event in said if event.HasField("output_text_done"))
    assert WORDS[1:] in [list(run.deltas) for run in runs]
    assert done.sequence_number == runs[-1].sequence_number + len(runs[-1].deltas)
    assert done.text == "".join(WORDS)
    assert [event.output_text_delta.delta for event in singles if event.HasField("output_text_delta")] == WORDS


@pytest.mark.parametrize(("merged", "pieces"), [(False, WORDS), (True, [*WORDS[:1], "".join(WORDS[1:])])])
async def test_texts_that_come_together_are_merged_only_where_that_is_configured(merged: bool, pieces: list[str]) -> None:
    dialect = OpenAIChat(cast("UpstreamHttp", InOnePiece({}, STREAMS["plain"])), merge_text=merged)
    stream = dialect.stream_chat_completion(to_chat("chat"), "m")
    batches = [without_runs(batch, "chunks") async for batch in stream]

    said = [choice.delta.content for batch in batches for one in batch.chunks for choice in one.choices]
    assert list(filter(None, said)) == pieces


def test_only_chat_upstreams_have_their_texts_merged() -> None:
    with pytest.raises(ValidationError, match="merge_text"):
        ProviderSettings(name="lab", type="anthropic", merge_text=True)


def test_the_first_text_is_a_piece_already_where_its_head_has_been_told() -> None:
    sent, head, more_head = chunk("a"), {"id": "c1"}, {"id": "c1", "service_tier": "flex"}
    data, said = orjson.dumps(sent), codec_for(ChatCompletionChunk).decode({"choices": sent["choices"]})
    template = TextTemplate()

    assert template.learn(data, head, said) is None
    told = template.learn(data, head, said)
    assert told is not None
    assert (told.texts, told.chunk().contents) == (["a"], ["a"])
    assert template.learn(data, more_head, said) is None
    assert (
        template.learn(orjson.dumps(END), more_head, codec_for(ChatCompletionChunk).decode({"choices": END["choices"]})) is None
    )
