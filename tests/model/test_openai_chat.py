"""The chat completions dialect over scripted bytes: turns, pass-through, and what sloppy or broken servers send."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from tests.checkers.chat_stream import check_chat_stream
from tests.model.answering import singles
from tests.model.chat_chunks import HEAD, TEXT, USAGE, call, chunk, function
from tests.upstreams.scripted import CLOSE, ScriptedUpstream, Step, answer, piece, sse, stream, stream_head
from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import RateLimited, ServiceError, UpstreamFailed, UpstreamRejected
from trivet.model_service.adapters.chat_flavors import OPENAI
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.ports import Dialect, ModelInfo
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    Message,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    Text,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnRequest,
    TurnStarted,
    Usage,
)
from trivet.model_service.faces.native import NativeChat, NativeResponses

STARTED = TurnStarted("chatcmpl-up", "m-2026", 7)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def dialect(upstream: ScriptedUpstream) -> AsyncIterator[OpenAIChat]:
    opened: Dialect = OpenAIChat(UpstreamHttp("lab", Endpoint(upstream.base_url)))
    assert isinstance(opened, OpenAIChat)
    yield opened
    await opened.aclose()


def turn(*, streamed: bool) -> TurnRequest:
    return TurnRequest("m", (Message("user", (Text("hi"),)),), stream=streamed)


async def events(dialect: OpenAIChat, *, streamed: bool = True) -> list[TurnEvent]:
    return [event async for batch in dialect.turn(turn(streamed=streamed)) for event in singles(batch)]


def asked(**more: Any) -> CreateChatCompletionRequest:
    body = {"model": "lab/m", "messages": [{"role": "user", "content": "hi"}], **more}
    request: CreateChatCompletionRequest = codec_for(CreateChatCompletionRequest).decode(body)
    return request


async def passed(dialect: OpenAIChat, **more: Any) -> list[dict[str, Any]]:
    """The chunks of a stream that passes through, as the client sees them; the checker has seen them, too."""
    shared: dict[str, Any] = {}
    chunks: list[dict[str, Any]] = []
    async for batch in dialect.stream_chat_completion(asked(**more), "m"):
        encoded = codec_for(ChatCompletionChunkBatch).encode(batch)
        ready = json.loads(codec_for(ChatCompletionChunkBatch).dumps(batch)).pop("chunks")
        shared |= {key: value for key, value in encoded.items() if key != "chunks" and value is not None}
        chunks += [shared | one for one in ready]
    assert check_chat_stream(chunks) == []
    return chunks


# ---- turns ---------------------------------------------------------------------------------------------------------


async def test_text_streams_with_its_usage(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    upstream.play(stream(sse(*TEXT, chunk(usage=USAGE, service_tier="flex"))))
    assert await events(dialect) == [
        STARTED,
        TextDelta("hi "),
        TextDelta("you"),
        TurnFinished("stop", Usage(7, 3, 10, 2, 0, 1), "flex"),
    ]
    assert upstream.requests[0].path == "/v1/chat/completions"


async def test_events_come_while_the_upstream_still_writes(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    gate = asyncio.Event()
    upstream.play(stream(sse(*TEXT[:2], done=False), gate, sse(*TEXT[2:])))
    async with aclosing(dialect.turn(turn(streamed=True))) as batches:
        assert singles(await anext(batches)) == [STARTED, TextDelta("hi ")]
        gate.set()
        assert singles(await anext(batches)) == [TextDelta("you")]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_whole_answer_gives_the_same_kinds_of_events_asked_for_or_not(
    streamed: bool, upstream: ScriptedUpstream, dialect: OpenAIChat
) -> None:
    calls = [
        {"id": "a", "type": "function", "function": function("add", "{}")},
        {"id": "b", "type": "custom", "custom": {"name": "run", "input": "x"}},
    ]
    message = {"role": "assistant", "content": "hi", "refusal": None, "reasoning_content": "hm", "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}
    upstream.play(answer(HEAD | {"choices": [choice], "usage": USAGE}))
    assert await events(dialect, streamed=streamed) == [
        STARTED,
        ReasoningDelta("hm"),
        ReasoningEnded(),
        TextDelta("hi"),
        ToolCallStarted(0, "a", "add"),
        ToolCallDelta(0, "{}"),
        ToolCallStarted(1, "b", "run", "custom"),
        ToolCallDelta(1, "x"),
        TurnFinished("tool_calls", Usage(7, 3, 10, 2, 0, 1)),
    ]
    assert upstream.requests[0].body.get("stream", False) is streamed


async def test_a_whole_answer_in_place_of_a_stream_is_passed_on_as_one(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    said = {"role": "assistant", "content": "hi", "tool_calls": [{"function": function("add", "{}")}]}
    choices = [{"message": said, "finish_reason": "tool_calls"}, {"index": 1, "message": {"content": "ho"}}]
    upstream.play(answer(HEAD | {"object": "chat.completion", "choices": choices, "usage": USAGE}))
    found = await passed(dialect, n=2, stream_options={"include_usage": True})
    told = {choice["index"]: choice for one in found for choice in one["choices"]}
    assert told[0]["delta"]["tool_calls"][0]["function"] == function("add", "{}")
    assert (told[0]["finish_reason"], told[1]["delta"]["content"], told[1]["finish_reason"]) == ("tool_calls", "ho", "stop")
    assert found[-1]["usage"]["total_tokens"] == 10


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
async def test_reasoning_ends_where_the_answer_begins(upstream: ScriptedUpstream, dialect: OpenAIChat, key: str) -> None:
    thoughts = [chunk({"role": "assistant", key: "h"}), chunk({key: "m", "content": None})]
    upstream.play(stream(sse(*thoughts, chunk({"content": "a"}), chunk({}, "stop"))))
    assert (await events(dialect))[1:-1] == [
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        ReasoningEnded(),
        TextDelta("a"),
    ]


async def test_reasoning_without_an_answer_ends_with_the_turn(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    upstream.play(stream(sse(chunk({"reasoning_content": "h"}), chunk({}, "length"))))
    assert (await events(dialect))[1:] == [ReasoningDelta("h"), ReasoningEnded(), TurnFinished("length")]


async def test_refusals_citations_and_logprobs_survive(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    citation = {"type": "url_citation", "url_citation": {"url": "https://x", "start_index": 0, "end_index": 2}}
    top = [{"token": "hi", "logprob": -0.1, "bytes": [104, 105]}, {"token": "ho", "logprob": -2.5, "bytes": None}]
    logprobs = {"content": [{"token": "hi", "logprob": -0.1, "bytes": [104, 105], "top_logprobs": top}]}
    told = chunk({"content": "hi"})
    told["choices"][0]["logprobs"] = logprobs
    upstream.play(stream(sse(told, chunk({"annotations": [citation]}), chunk({"refusal": "no"}), chunk({}, "stop"))))
    hi, ho = TokenLogprob("hi", -0.1, (104, 105)), TokenLogprob("ho", -2.5)
    _, text, cited, refused, _ = await events(dialect)
    assert text == TextDelta("hi", (TokenLogprob("hi", -0.1, (104, 105), (hi, ho)),))
    assert isinstance(cited, AnnotationAdded)
    assert json.loads(cited.raw) == {"type": "url_citation", "url": "https://x", "start_index": 0, "end_index": 2}
    assert refused == RefusalDelta("no")


@pytest.mark.parametrize(
    ("told", "reason"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop")],
)
async def test_finish_reasons(upstream: ScriptedUpstream, dialect: OpenAIChat, told: str, reason: str) -> None:
    upstream.play(stream(sse(chunk({"content": "a"}), chunk({}, told))))
    assert (await events(dialect))[-1] == TurnFinished(reason)  # type: ignore[arg-type]


PARALLEL = [
    STARTED,
    ToolCallStarted(0, "a", "add"),
    ToolCallDelta(0, '{"x":1}'),
    ToolCallStarted(1, "b", "add"),
    ToolCallDelta(1, "{}"),
    TurnFinished("tool_calls"),
]


@pytest.mark.parametrize(
    "deltas",
    [
        # As the API says.
        [call(0, id="a", type="function", function=function("add", '{"x":1}'))],
        # Id, name and role again in every piece.
        [
            call(0, id="a", function=function("add", "")),
            {"role": "assistant"} | call(0, id="a", function=function("add", '{"x":1}')),
        ],
        # No index.
        [call(None, id="a", function=function("add")), call(None, function=function(arguments='{"x":1}'))],
        # Arguments as an object.
        [call(0, id="a", function=function("add", {"x": 1}))],
        # Nulls and empty strings.
        [
            call(0, id="a", type=None, function={"name": "add", "arguments": None}),
            call(0, id="", function={"name": "", "arguments": '{"x":1}'}),
            call(0, id=None, function={"name": None, "arguments": None}),
        ],
        # A fresh id in every piece.
        [call(0, id="a", function=function("add")), call(0, id="z", function=function(arguments='{"x":1}'))],
        # The older form beside the current one.
        [
            call(0, id="a", function=function("add")) | {"function_call": function("add")},
            call(0, function=function(arguments='{"x":1}')) | {"function_call": function(arguments='{"x":1}')},
        ],
    ],
)
@pytest.mark.parametrize("second", [1, 0, 7, None])
async def test_tool_calls_come_out_the_same_however_they_are_written(
    upstream: ScriptedUpstream, dialect: OpenAIChat, deltas: list[dict[str, Any]], second: int | None
) -> None:
    last = call(second, id="b", function=function("add", "{}"))
    upstream.play(stream(sse(*(chunk(json.loads(json.dumps(delta))) for delta in deltas), chunk(last), chunk({}, "stop"))))
    found = [event for event in await events(dialect) if event != ToolCallDelta(0, "")]
    assert found == PARALLEL
    upstream.play(stream(sse(*map(chunk, deltas), chunk(last), chunk({}, "tool_calls"))))
    await passed(dialect)


async def test_interleaved_calls_keep_apart(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    deltas = [
        call(0, id="a", function=function("add")),
        call(1, id="b", function=function("add")),
        call(0, function=function(arguments="1")),
        call(1, function=function(arguments="2")),
        call(0, function=function(arguments="3")),
    ]
    upstream.play(stream(sse(*map(chunk, deltas), chunk({}, "tool_calls"))))
    found = [event for event in await events(dialect) if isinstance(event, ToolCallDelta)]
    assert found == [ToolCallDelta(0, "1"), ToolCallDelta(1, "2"), ToolCallDelta(0, "3")]


@pytest.mark.parametrize("streamed", [True, False])
async def test_calls_without_ids_get_their_own(upstream: ScriptedUpstream, dialect: OpenAIChat, streamed: bool) -> None:
    calls = [{"function": function("add", "{}")}, {"id": "", "function": function("add", "{}")}]
    if streamed:
        upstream.play(stream(sse(chunk({"tool_calls": calls}), chunk({}, "tool_calls"))))
    else:
        message = {"content": None, "tool_calls": calls}
        upstream.play(answer(HEAD | {"choices": [{"message": message, "finish_reason": "tool_calls"}]}))
    begun = [event for event in await events(dialect, streamed=streamed) if isinstance(event, ToolCallStarted)]
    assert [event.index for event in begun] == [0, 1]
    assert begun[0].id.startswith("call_")
    assert begun[1].id not in {"", begun[0].id}


async def test_a_call_in_the_older_form_alone_is_a_tool_call(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    deltas = [{"function_call": function("add", "")}, {"function_call": function(arguments="{}")}]
    upstream.play(stream(sse(*map(chunk, deltas), chunk({}, "function_call"))))
    _, begun, pieces, finished = await events(dialect)
    assert isinstance(begun, ToolCallStarted)
    assert (begun.name, pieces, finished) == ("add", ToolCallDelta(0, "{}"), TurnFinished("tool_calls"))


# ---- streams as they really end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        [b"data: [DONE]\n\n"],
        [b"data: [DONE]"],
        [],
        [b": bye\n\n"],
        [CLOSE],
        [b"data: {oops\n\n"],
        [b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'],
        [b"data: [DONE]\n\ndata: garbage\n\n"],
    ],
)
async def test_a_finished_answer_is_whole_however_its_stream_ends(
    upstream: ScriptedUpstream, dialect: OpenAIChat, end: list[Any]
) -> None:
    for ask in (events, passed):
        script: list[Step] = stream(sse(*TEXT, done=False), *(item for item in end if isinstance(item, bytes)))
        upstream.play([*script[:-1], CLOSE] if CLOSE in end else script)
        assert len(await ask(dialect)) == 4


async def test_done_without_a_finish_reason_is_a_stop(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    for ask in (events, passed):
        upstream.play(stream(sse(*TEXT[:3])))
        assert len(await ask(dialect)) == 4


@pytest.mark.parametrize(
    "broken",
    [
        sse(*TEXT[:2], done=False),
        sse(*TEXT[:2], done=False) + b"data: {oops\n\n",
        sse(*TEXT[:2], done=False) + b"data: []\n\n",
        sse(*TEXT[:2], {"choices": 5}),
        sse(*TEXT[:2], {"choices": [5]}),
        sse(*TEXT[:2], chunk({"content": 5})),
        sse(*TEXT[:2], chunk({"tool_calls": [5]})),
        sse(*TEXT[:2], {"error": {"message": "out of memory"}}),
        sse(*TEXT[:2], {"error": "out of memory"}),
        sse(*TEXT[:2], {"object": "error", "message": "out of memory"}),
        sse(*TEXT[:2], done=False) + b'event: error\ndata: {"message": "out of memory"}\n\n',
    ],
)
async def test_a_broken_stream_gives_what_it_had_and_fails(
    upstream: ScriptedUpstream, dialect: OpenAIChat, broken: bytes
) -> None:
    upstream.play(stream(broken))
    upstream.play(stream(broken))
    for batches in (dialect.turn(turn(streamed=True)), dialect.stream_chat_completion(asked(), "m")):
        seen: list[Any] = []
        with pytest.raises(UpstreamFailed):
            await drain(batches, seen)
        assert seen


async def drain(batches: AsyncIterator[Any], seen: list[Any]) -> None:
    async for batch in batches:
        seen.append(batch)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "slow", "code": 429}, RateLimited),
        ({"message": "slow", "type": "rate_limit_exceeded"}, RateLimited),
        ({"message": "long", "type": "invalid_request_error", "code": "context_length_exceeded"}, UpstreamRejected),
        ({"message": "dead", "type": "server_error"}, UpstreamFailed),
    ],
)
async def test_an_error_in_the_stream_is_the_error_it_says(
    upstream: ScriptedUpstream, dialect: OpenAIChat, error: dict[str, Any], kind: type[ServiceError]
) -> None:
    upstream.play(stream(sse(TEXT[0], {"error": error})))
    with pytest.raises(kind, match=error["message"]) as caught:
        await events(dialect)
    assert type(caught.value) is kind


@pytest.mark.parametrize("empty", [stream(b""), stream(b"data: [DONE]\n\n"), stream(b": ping\n\n")])
async def test_an_empty_stream_is_a_failure(upstream: ScriptedUpstream, dialect: OpenAIChat, empty: list[Step]) -> None:
    upstream.play(empty)
    with pytest.raises(UpstreamFailed, match="ended its stream early"):
        await events(dialect)


async def test_how_the_bytes_are_split_changes_nothing(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    smile = chunk({"content": "\U0001f600é"})
    raw = b": ping\r\n\r\n" + sse(TEXT[0], smile, TEXT[-1]).replace(b"\\u00e9", "é".encode()).replace(b"\n", b"\r\n")
    for size in (1, 2, 3, 7, 64):
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
        upstream.play(stream_head(), *map(piece, pieces), CLOSE)
        assert (await events(dialect))[1:] == [TextDelta("\U0001f600é"), TurnFinished("stop")]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no"}},
        {"choices": []},
        {"id": "x"},
        {"choices": [5]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": "text", "finish_reason": "stop"}]},
        {"choices": {"a": 1}},
        {"choices": True},
    ],
)
async def test_a_broken_answer_is_a_failure(upstream: ScriptedUpstream, dialect: OpenAIChat, body: dict[str, Any]) -> None:
    upstream.play(answer(body))
    upstream.play(answer(body))
    with pytest.raises(UpstreamFailed):
        await events(dialect, streamed=False)
    with pytest.raises(UpstreamFailed):
        await dialect.create_chat_completion(asked(), "m")


async def test_leaving_in_the_middle_ends_the_upstream_call(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    for batches in (dialect.turn(turn(streamed=True)), dialect.stream_chat_completion(asked(), "m")):
        upstream.play(stream_head(), piece(sse(*TEXT[:2], done=False)), asyncio.Event())
        async with aclosing(batches):
            await anext(batches)
        await upstream.until(lambda: upstream.open == 0)


# ---- pass-through --------------------------------------------------------------------------------------------------


async def test_the_dialect_is_native_to_chat_alone(dialect: OpenAIChat) -> None:
    assert isinstance(dialect, NativeChat)
    assert not isinstance(dialect, NativeResponses)


async def test_what_nobody_knows_passes_in_both_directions(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    strange = chunk({"content": "a", "x_delta": 1}, provider="p", timings={"ms": 5})
    strange["choices"][0]["x_choice"] = [2]
    upstream.play(stream(sse(strange, chunk({}, "stop"), chunk(usage=USAGE | {"x_usage": 3}))))
    more = {"min_p": 0.1, "messages": [{"role": "user", "content": [{"type": "hologram", "data": 1}], "x_message": 4}]}
    first, *_, last = await passed(dialect, **more)
    sent = upstream.requests[0].body
    assert sent == {"model": "m", "stream": True, "stream_options": {"include_usage": True}, **more}
    assert (first["provider"], first["timings"], first["model"], first["id"]) == ("p", {"ms": 5}, "lab/m", HEAD["id"])
    assert first["choices"][0]["x_choice"] == [2]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a", "x_delta": 1}
    assert last["usage"] == USAGE | {"x_usage": 3}


async def test_a_whole_answer_passes_under_the_callers_name(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    message = {"role": "assistant", "content": None, "refusal": None, "audio": {"id": "a"}, "x": 1}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    body = {"id": "c", "object": "chat.completion", "created": 7, "model": "m-2026", "choices": [choice], "usage": USAGE}
    upstream.play(answer(body | {"service_tier": "flex", "system_fingerprint": "fp", "x": None}))
    completion = await dialect.create_chat_completion(asked(stream=True, stream_options={"include_usage": True}), "m")
    shown = json.loads(codec_for(ChatCompletion).dumps(completion))
    assert shown == body | {"model": "lab/m", "service_tier": "flex", "system_fingerprint": "fp", "x": None}
    assert upstream.requests[0].body == {
        "model": "m",
        "stream": False,
        "messages": [{"role": "user", "content": "hi"}],
    }


async def test_one_id_and_time_stand_for_the_whole_stream(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    chunks = [one | {"id": f"c{n}", "created": n} for n, one in zip(itertools.count(1), TEXT, strict=False)]
    upstream.play(stream(sse(*chunks)))
    assert {(one["id"], one["created"]) for one in await passed(dialect)} == {("c1", 1)}
    upstream.play(stream(sse(*({"choices": one["choices"]} for one in TEXT))))
    assert all(one["id"].startswith("chatcmpl-") for one in await passed(dialect))


async def test_choices_that_are_several_pass(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    both = [{"index": index, "delta": {"content": "a"}, "finish_reason": None} for index in (0, 1)]
    ends = [chunk({}, "stop"), chunk({}, "stop")]
    ends[1]["choices"][0]["index"] = 1
    upstream.play(stream(sse(HEAD | {"choices": both}, *ends)))
    assert len(await passed(dialect, n=2)) == 3


async def test_the_older_form_passes_when_it_was_asked_for(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    upstream.play(stream(sse(chunk({"function_call": function("add", "{}")}), chunk({}, "function_call"))))
    first, _ = await passed(dialect, functions=[{"name": "add"}])
    assert first["choices"][0]["delta"]["function_call"] == function("add", "{}")


async def test_openai_itself_is_sent_the_limit_under_its_current_name(upstream: ScriptedUpstream) -> None:
    dialect = OpenAIChat(UpstreamHttp("oai", Endpoint(upstream.base_url)), OPENAI)
    upstream.play(answer({"choices": [{"message": {"content": "a"}}]}))
    await dialect.create_chat_completion(asked(max_tokens=5), "m")
    sent = upstream.requests[0].body
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (5, False)
    await dialect.aclose()


async def test_compatible_servers_are_sent_older_names_of_which_they_know_no_newer(
    upstream: ScriptedUpstream, dialect: OpenAIChat
) -> None:
    upstream.play(answer({"choices": [{"message": {"content": "a"}}]}))
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    await dialect.create_chat_completion(asked(max_completion_tokens=5, messages=messages), "m")
    sent = upstream.requests[0].body
    assert (sent["max_tokens"], "max_completion_tokens" in sent) == (5, False)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]


# ---- models --------------------------------------------------------------------------------------------------------


async def test_models_are_listed(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    upstream.play(answer({"data": [{"id": "a", "created": 5, "owned_by": "x"}, {"id": "b/c"}, {"name": "?"}, 7]}))
    assert await dialect.list_models() == [ModelInfo("a", 5), ModelInfo("b/c")]


async def test_an_unknown_form_of_list_is_a_failure(upstream: ScriptedUpstream, dialect: OpenAIChat) -> None:
    upstream.play(answer({"models": []}))
    with pytest.raises(UpstreamFailed):
        await dialect.list_models()
