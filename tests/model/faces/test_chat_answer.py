"""The chat face renders the events of a turn, as chunks and whole; both say the same."""

import json
from typing import Any

import pytest

from tests.checkers.chat_stream import check_chat_stream
from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.kernel.codec.message_codec import codec_for
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    HostedItem,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)
from trivet.model_service.faces.chat_answer import ChatChunks, WholeChat

STARTED = TurnStarted("resp_1", "m-2026", 7, "fp")
USAGE = Usage(7, 3, 10, 2, 0, 1)


def chunks_of(*events: TurnEvent, include_usage: bool = False) -> list[dict[str, Any]]:
    renderer = ChatChunks("oai/m", include_usage=include_usage)
    shared: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    for batch in renderer.batches(events):
        encoded = json.loads(codec_for(ChatCompletionChunkBatch).dumps(batch))
        ready = encoded.pop("chunks", [])
        shared |= {key: value for key, value in encoded.items() if value is not None}
        found += [shared | one for one in ready]
    assert check_chat_stream(found) == []
    return found


def whole(*events: TurnEvent) -> dict[str, Any]:
    gathered = WholeChat("oai/m")
    gathered.add(events)
    shown: dict[str, Any] = json.loads(codec_for(ChatCompletion).dumps(gathered.completion()))
    return shown


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]


def test_text_is_a_role_pieces_a_finish_and_the_usage() -> None:
    chunks = chunks_of(STARTED, TextDelta("a"), TextDelta("b"), TurnFinished("stop", USAGE, "flex"), include_usage=True)
    assert deltas(chunks) == [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, None, "stop"]
    last = chunks[-1]
    assert (last["choices"], last["model"], last["created"], last["system_fingerprint"]) == ([], "oai/m", 7, "fp")
    # Told at the end, it is said of what comes then, however much came at once.
    assert [chunk.get("service_tier") for chunk in chunks] == [None, None, None, "flex", "flex"]
    assert last["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def test_usage_comes_only_when_asked_for_and_then_always() -> None:
    assert len(chunks_of(STARTED, TextDelta("a"), TurnFinished("stop", USAGE))) == 3
    assert chunks_of(STARTED, TurnFinished("stop"), include_usage=True)[-1]["usage"]["total_tokens"] == 0


def test_a_whole_answer_says_everything() -> None:
    token = TokenLogprob("a", -0.5, (97,), (TokenLogprob("a", -0.5, (97,)), TokenLogprob("b", -1.5)))
    shown = whole(
        STARTED,
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        ReasoningEnded("secret"),
        TextDelta("a", (token,)),
        TextDelta("b"),
        AnnotationAdded('{"type":"url_citation","url":"https://x"}'),
        ToolCallStarted(0, "c1", "add"),
        ToolCallStarted(1, "c2", "run", "custom"),
        ToolCallDelta(1, "x"),
        ToolCallDelta(0, "{"),
        ToolCallDelta(0, "}"),
        HostedItem("{}"),
        TurnFinished("tool_calls", USAGE, "flex"),
    )
    assert shown.pop("id").startswith("chatcmpl-")
    choice = shown["choices"][0]
    assert choice["message"] == {
        "role": "assistant",
        "content": "ab",
        "refusal": None,
        "reasoning_content": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "secret", "index": 0}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://x"}}],
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "x"}},
        ],
    }
    top = [{"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "b", "logprob": -1.5, "bytes": None}]
    expected = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": top}
    assert choice["logprobs"] == {"content": [expected], "refusal": None}
    assert (choice["finish_reason"], shown["service_tier"], shown["usage"]["total_tokens"]) == ("tool_calls", "flex", 10)


def test_a_call_alone_has_content_null_and_a_refusal_is_no_content() -> None:
    message = whole(STARTED, ToolCallStarted(0, "c", "add"), TurnFinished("tool_calls"))["choices"][0]["message"]
    assert message["content"] is None
    message = whole(STARTED, RefusalDelta("n"), RefusalDelta("o"), TurnFinished("stop"))["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "no")


def test_parallel_calls_stream_by_index() -> None:
    found = deltas(
        chunks_of(
            STARTED,
            ToolCallStarted(0, "c1", "add"),
            ToolCallStarted(1, "c2", "run", "custom"),
            ToolCallDelta(1, "x"),
            ToolCallDelta(0, "{}"),
            TurnFinished("tool_calls"),
        )
    )
    assert found[1:-1] == [
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "type": "custom", "custom": {"name": "run", "input": ""}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": "x"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    ]


@pytest.mark.parametrize(
    ("event", "delta"),
    [
        (RefusalDelta("no"), {"refusal": "no"}),
        (ReasoningDelta("hm"), {"reasoning_content": "hm"}),
        (
            AnnotationAdded('{"type":"url_citation","url":"x"}'),
            {"annotations": [{"type": "url_citation", "url_citation": {"url": "x"}}]},
        ),
    ],
)
def test_other_events_have_their_delta(event: TurnEvent, delta: dict[str, Any]) -> None:
    assert deltas(chunks_of(STARTED, event, TurnFinished("stop")))[1] == delta


def test_logprobs_stand_beside_their_text() -> None:
    chunk = chunks_of(STARTED, TextDelta("a", (TokenLogprob("a", -1.0),)), TurnFinished("stop"))[1]
    assert chunk["choices"][0]["logprobs"]["content"][0]["logprob"] == -1.0


def test_summaries_are_set_apart() -> None:
    parts = [ReasoningDelta("a", 0), ReasoningDelta("b", 0), ReasoningDelta("c", 1)]
    message = whole(STARTED, *parts, TurnFinished("stop"))["choices"][0]["message"]
    assert message["reasoning_content"] == "ab\n\nc"
