"""The chat stream checker passes sound streams and finds each planted defect."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.checkers.chat_stream import check_chat_sse, check_chat_stream

Chunks = list[dict[str, Any]]


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "lab/m", "choices": choices, **more}


def call(index: int, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **more}]}


def begun(index: int, call_id: str) -> dict[str, Any]:
    return call(index, id=call_id, type="function", function={"name": "add", "arguments": ""})


TEXT: Chunks = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "hi"}),
    chunk({}, "stop"),
    chunk(None, usage={"total_tokens": 1}),
]
CALLS: Chunks = [
    chunk({"role": "assistant"} | begun(0, "a")),
    chunk(begun(1, "b")),
    chunk(call(0, function={"arguments": '{"x":'})),
    chunk(call(1, function={"arguments": "{}"})),
    chunk(call(0, function={"arguments": "1}"})),
    chunk({}, "tool_calls"),
]
RESULTS: Chunks = [
    chunk({"role": "tool", "tool_call_id": "b", "content": "2"}),
    chunk({"role": "tool", "tool_call_id": "a", "content": "1"}),
]
FINAL: Chunks = [
    chunk({"role": "assistant", "content": "done"}),
    chunk({}, "stop", run={"iterations": 2, "stopped_by": "model"}),
]
LIMIT: Chunks = [chunk({}, "length", run={"iterations": 1, "stopped_by": "iteration_limit"})]
RUN = CALLS + RESULTS + FINAL


@pytest.mark.parametrize(("chunks", "agent"), [(TEXT, False), (CALLS, False), (RUN, True), (CALLS + RESULTS + LIMIT, True)])
def test_a_sound_stream_has_no_fault(chunks: Chunks, agent: bool) -> None:
    assert check_chat_stream(chunks, agent=agent) == []


def with_(position: int, **values: Any) -> Callable[[Chunks], None]:
    return lambda chunks: chunks[position].update(values)


def without(position: int, key: str | None = None) -> Callable[[Chunks], None]:
    return lambda chunks: chunks.__delitem__(position) if key is None else chunks[position].__delitem__(key)


def delta(position: int, value: dict[str, Any], finish: str | None = None) -> Callable[[Chunks], None]:
    return lambda chunks: chunks[position].update(chunk(value, finish))


def twice(position: int) -> Callable[[Chunks], None]:
    return lambda chunks: chunks.insert(position, copy.deepcopy(chunks[position]))


@pytest.mark.parametrize(
    "defect",
    [
        with_(1, id="other"),
        with_(1, model="m"),
        with_(2, created=2),
        with_(1, id=None),
        with_(0, object="chat.completion"),
        without(1, "choices"),
        without(0, "id"),
        delta(0, {"content": ""}),
        delta(1, {"role": "assistant", "content": "hi"}),
        delta(2, {}, "done"),
        delta(2, {}, "tool_calls"),
        without(2),
        twice(2),
        twice(3),
        lambda chunks: chunks.append(chunk({"content": "late"})),
        lambda chunks: chunks.clear(),
        lambda chunks: chunks[1]["choices"][0].pop("index"),
        lambda chunks: chunks[1]["choices"][0].pop("finish_reason"),
    ],
)
def test_a_defect_in_text_is_found(defect: Callable[[Chunks], None]) -> None:
    chunks = copy.deepcopy(TEXT)
    defect(chunks)
    assert check_chat_stream(chunks)


@pytest.mark.parametrize(
    "defect",
    [
        delta(1, begun(1, "a")),
        delta(1, begun(2, "b")),
        delta(1, call(1, type="function", function={"name": "add"})),
        delta(1, call(1, id="b", type="function", function={"arguments": ""})),
        delta(1, call(1, id="b", function={"name": "add"})),
        delta(2, call(0, id="a", function={"arguments": '{"x":'})),
        delta(2, call(0, function={"name": "add", "arguments": '{"x":'})),
        delta(2, call(7, function={"arguments": ""})),
        delta(4, call(0, function={"arguments": "1"})),
    ],
)
def test_a_defect_in_tool_calls_is_found(defect: Callable[[Chunks], None]) -> None:
    chunks = copy.deepcopy(CALLS)
    defect(chunks)
    assert check_chat_stream(chunks)


@pytest.mark.parametrize(
    "defect",
    [
        without(6),
        twice(6),
        delta(6, {"role": "tool", "tool_call_id": "x", "content": "2"}),
        delta(6, {"role": "tool", "tool_call_id": "b"}),
        delta(6, {"role": "tool", "tool_call_id": "b", "content": "2"}, "stop"),
        without(-1, "run"),
        with_(-1, run={"iterations": 1, "stopped_by": "model"}),
        with_(-1, run={"iterations": 2, "stopped_by": "mood"}),
        with_(0, run={"iterations": 2, "stopped_by": "model"}),
        with_(7, id="c2"),
    ],
)
def test_a_defect_in_an_agent_run_is_found(defect: Callable[[Chunks], None]) -> None:
    chunks = copy.deepcopy(RUN)
    defect(chunks)
    assert check_chat_stream(chunks, agent=True)


def test_a_run_that_ends_at_the_limit_before_its_results_is_found() -> None:
    assert check_chat_stream(CALLS + LIMIT, agent=True)


def frames(chunks: Chunks) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)


DONE = b"data: [DONE]\n\n"


def test_a_sound_sse_response_has_no_fault() -> None:
    assert check_chat_sse(b": ping\n\n" + frames(TEXT) + DONE) == []


@pytest.mark.parametrize(
    "raw",
    [
        frames(TEXT),
        frames(TEXT) + DONE + DONE,
        frames(TEXT) + DONE.rstrip(),
        frames(TEXT[:2]) + DONE + frames(TEXT[2:]),
        b"event: chunk\n" + frames(TEXT) + DONE,
        frames(TEXT[:2]) + DONE,
    ],
)
def test_a_defect_in_sse_is_found(raw: bytes) -> None:
    assert check_chat_sse(raw)
