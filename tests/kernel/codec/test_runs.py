"""Runs: one event that stands for many is told as these."""

from typing import Any

import orjson
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from trivet.bridge.numbering import Numbering
from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunk, ChatCompletionChunkBatch
from trivet.kernel.codec.runs import Continuation, without_runs
from trivet.kernel.codec.sse import stream_codec
from trivet.kernel.errors import UpstreamFailed
from trivet.model.v1 import model_service_pb2
from trivet.model.v1.response_event_body_pb2 import OutputTextDeltaEvent
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch

_METHODS = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].methods_by_name
CHAT = stream_codec(_METHODS["StreamChatCompletion"])
RESPONSES = stream_codec(_METHODS["StreamResponse"])

AWKWARD = ["", "a", '"', "\\", "100 %d %b", "\n\n", "data: x", "\u2028\u0085", "\ue000run\ue000", "7030201901130701", "żółw 🐢"]
TEXTS = st.lists(st.sampled_from(AWKWARD) | st.text(), min_size=1, max_size=8)


def chat(*texts: str, **said: Any) -> ChatCompletionChunkBatch:
    return ChatCompletionChunkBatch(id="c", chunks=[ChatCompletionChunk(contents=texts, **said)])


def responses(*texts: str, first: int = 7, **said: Any) -> ResponseEventBatch:
    run = OutputTextDeltaEvent(deltas=texts, sequence_number=first, item_id="msg_1", **said)
    return ResponseEventBatch(events=[ResponseEvent(output_text_delta=run)])


def going_on(message: Any) -> Continuation:
    continuation = Continuation()
    continuation.follow(message)
    return continuation


@given(TEXTS, st.sampled_from(["", '{"provider":"x"}', '{"odd":"\ue000run\ue000"}']))
def test_the_frames_of_a_run_of_chunks_are_those_of_its_chunks(texts: list[str], extra: str) -> None:
    run = chat(*texts, extra=extra)
    single = without_runs(run, "chunks")

    assert [chunk.choices[0].delta.content for chunk in single.chunks] == texts
    assert CHAT.open().frames(run) == CHAT.open().frames(single)


@given(TEXTS, st.sampled_from(["msg_1", "7030201901130701", "%d"]), st.integers(0, 2**40))
def test_the_frames_of_a_run_of_events_are_those_of_its_events_and_numbered_on(texts: list[str], item: str, first: int) -> None:
    run = responses(*texts, first=first)
    run.events[0].output_text_delta.item_id = item
    single = without_runs(run, "events")

    assert [event.output_text_delta.delta for event in single.events] == texts
    assert [event.output_text_delta.sequence_number for event in single.events] == list(range(first, first + len(texts)))
    assert RESPONSES.open().frames(run) == RESPONSES.open().frames(single)


def test_runs_of_another_item_and_of_another_id_do_not_look_like_the_ones_before() -> None:
    stream, other = RESPONSES.open(), responses("c", first=9)
    other.events[0].output_text_delta.item_id = "msg_2"
    stream.frames(responses("a", "b"))
    assert b'"item_id":"msg_2"' in stream.frames(other)

    chunks, renamed = CHAT.open(), chat("b")
    renamed.system_fingerprint = "fp"
    chunks.frames(chat("a"))
    assert b'"system_fingerprint":"fp"' in chunks.frames(renamed)


def test_a_message_without_runs_stays_the_same_object() -> None:
    batch = ResponseEventBatch(events=[ResponseEvent(output_text_delta=OutputTextDeltaEvent(delta="a"))])

    assert without_runs(batch, "events") is batch


def test_what_only_callers_over_grpc_see_is_in_no_frame() -> None:
    assert b"contents" not in CHAT.open().frames(chat("a"))
    assert b"deltas" not in RESPONSES.open().frames(responses("a"))


@pytest.mark.parametrize("texts", [["a"], ["a", "b", "c"]])
def test_an_error_after_a_run_has_the_number_after_its_last_event(texts: list[str]) -> None:
    stream, numbering = RESPONSES.open(), Numbering(RESPONSES)
    stream.frames(responses(*texts, first=5))
    numbering.passed(stream.count, stream.last)
    assert numbering.failure(UpstreamFailed("It broke."))["sequence_number"] == 5 + len(texts)

    stream, unnumbered = CHAT.open(), Numbering(CHAT)
    stream.frames(chat(*texts))
    unnumbered.passed(stream.count, stream.last)
    assert unnumbered.next == len(texts)


def test_a_run_is_one_frame_for_each_of_its_texts() -> None:
    frames = RESPONSES.open().frames(responses("a", "b"))

    data = [orjson.loads(frame.partition(b"data: ")[2]) for frame in frames.split(b"\n\n") if frame]
    assert frames.count(b"event: response.output_text.delta\n") == 2
    assert [(event["delta"], event["sequence_number"], event["logprobs"]) for event in data] == [("a", 7, []), ("b", 8, [])]


@given(st.lists(TEXTS, min_size=2, max_size=4))
def test_what_goes_on_with_a_run_has_the_frames_of_a_run_behind_it(given_texts: list[list[str]]) -> None:
    first, *others = given_texts
    for codec, run, numbers in ((CHAT, chat, False), (RESPONSES, responses, True)):
        going, told = codec.open(), codec.open()
        told.frames(run(*first))
        going.frames(run(*first))
        number = 7 + len(first)
        for texts in others:
            behind = responses(*texts, first=number) if numbers else chat(*texts)
            assert going.more(texts) == told.frames(behind)
            number += len(texts)
        assert (going.count, told.count) == (sum(map(len, given_texts)),) * 2


def test_nothing_goes_on_with_what_is_no_run() -> None:
    stream = CHAT.open()
    assert stream.more(["a"]) is None
    stream.frames(chat("a"))
    assert stream.more(["b"]) is not None
    stream.frames(ChatCompletionChunkBatch(chunks=[ChatCompletionChunk(extra='{"odd":1}')]))
    assert stream.more(["c"]) is None
    # Nor where what all events have in common has changed.
    stream.frames(chat("a"))
    stream.frames(ChatCompletionChunkBatch(model="another"))
    assert stream.more(["c"]) is None


def test_an_error_after_what_goes_on_with_a_run_has_the_next_number() -> None:
    stream, numbering = RESPONSES.open(), Numbering(RESPONSES)
    stream.frames(responses("a", "b", first=5))
    stream.more(["c", "d", "e"])
    numbering.passed(stream.count, stream.last, stream.after_last)
    assert numbering.failure(UpstreamFailed("It broke."))["sequence_number"] == 10


def test_only_what_is_nothing_but_a_run_is_written_as_one() -> None:
    stream = RESPONSES.open()
    single = ResponseEventBatch(events=[ResponseEvent(output_text_delta=OutputTextDeltaEvent(delta="a"))])
    both = ResponseEventBatch(events=[*responses("a").events, *single.events])

    assert [stream.of_run(batch) for batch in (single, both, ResponseEventBatch())] == [None, None, None]
    assert CHAT.open().of_run(chat("a")) is None, "it says something of the whole stream"
    assert stream.of_run(responses("a")) == RESPONSES.open().frames(responses("a"))


def test_messages_that_go_on_with_a_run_say_what_is_new() -> None:
    said = going_on(chat("a", extra='{"provider":"x"}'))
    assert said.message(["b", "c"]) == ChatCompletionChunkBatch(
        chunks=[ChatCompletionChunk(contents=["b", "c"], extra='{"provider":"x"}')]
    )

    numbered = going_on(responses("a", "b", first=5))
    assert numbered.message(["c"]) == responses("c", first=7)
    assert numbered.message(["c"]) == responses("c", first=7), "what has not gone out takes no number"
    numbered.passed(1)
    assert numbered.message(["d", "e"]) == responses("d", "e", first=8)


@pytest.mark.parametrize(
    "message",
    [
        ChatCompletionChunkBatch(id="c"),
        ChatCompletionChunkBatch(chunks=[*chat("a").chunks, ChatCompletionChunk()]),
        ChatCompletionChunk(contents=["a"]),
        StringValue(value="a"),
        b"bytes",
        None,
    ],
)
def test_there_are_no_messages_that_go_on_with_what_does_not_end_with_a_run(message: Any) -> None:
    assert going_on(message).message(["a"]) is None
