"""The Converse dialect over scripted bytes: whole and streamed turns, faults, and both faces over it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from tests.checkers.chat_stream import check_chat_stream
from tests.checkers.responses_stream import check_responses_stream
from tests.model.bedrock.eventstream import event, exception, failure
from tests.upstreams.scripted import CLOSE, ScriptedUpstream, Step, answer, piece, stream_head
from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import (
    Overloaded,
    RateLimited,
    ServiceError,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
)
from trivet.kernel.testing import serving
from trivet.model.v1.model_service_pb2_grpc import ModelServiceStub, add_ModelServiceServicer_to_server
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.bedrock import Bedrock
from trivet.model_service.adapters.bedrock_stream import MEDIA_TYPE
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    Message,
    ReasoningDelta,
    ReasoningEnded,
    Text,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnRequest,
    TurnStarted,
    Usage,
)
from trivet.model_service.providers import open_provider
from trivet.model_service.server import open_model_service
from trivet.model_service.settings import ModelSettings, ProviderSettings

HI = Message("user", (Text("hi"),))
COUNTED = {"inputTokens": 5, "outputTokens": 3, "totalTokens": 20, "cacheReadInputTokens": 8, "cacheWriteInputTokens": 4}
USAGE = Usage(input_tokens=17, output_tokens=3, total_tokens=20, cached_tokens=8, cache_write_tokens=4)
REDACTED = base64.b64encode(b"secret thoughts").decode()

STREAMED = [
    event("messageStart", role="assistant"),
    event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"text": "so "}}),
    event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"text": "it is"}}),
    event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"signature": "sig=="}}),
    event("contentBlockStop", contentBlockIndex=0),
    event("contentBlockDelta", contentBlockIndex=1, delta={"text": "Let me "}),
    event("contentBlockDelta", contentBlockIndex=1, delta={"text": "see."}),
    event("contentBlockStop", contentBlockIndex=1),
    event("contentBlockStart", contentBlockIndex=2, start={"toolUse": {"toolUseId": "t1", "name": "f"}}),
    event("contentBlockDelta", contentBlockIndex=2, delta={"toolUse": {"input": '{"a":'}}),
    event("contentBlockDelta", contentBlockIndex=2, delta={"toolUse": {"input": "1}"}}),
    event("contentBlockStop", contentBlockIndex=2),
    event("contentBlockStart", contentBlockIndex=3, start={"toolUse": {"toolUseId": "t2", "name": "g"}}),
    event("contentBlockStop", contentBlockIndex=3),
    event("messageStop", stopReason="tool_use"),
    event("metadata", usage=COUNTED, metrics={"latencyMs": 1}, serviceTier={"type": "flex"}),
]
EVENTS: list[TurnEvent] = [
    TurnStarted(),
    ReasoningDelta("so "),
    ReasoningDelta("it is"),
    ReasoningEnded("trivet:bedrock:signature:sig=="),
    TextDelta("Let me "),
    TextDelta("see."),
    ToolCallStarted(0, "t1", "f"),
    ToolCallDelta(0, '{"a":'),
    ToolCallDelta(0, "1}"),
    ToolCallStarted(1, "t2", "g"),
    TurnFinished("tool_calls", USAGE, "flex"),
]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def bedrock(upstream: ScriptedUpstream) -> AsyncIterator[Bedrock]:
    async with AsyncExitStack() as stack:
        dialect = open_provider(ProviderSettings.model_validate(settings(upstream)), stack).dialect
        assert isinstance(dialect, Bedrock)
        yield dialect


def settings(upstream: ScriptedUpstream) -> dict[str, Any]:
    where = {"base_url": f"http://127.0.0.1:{upstream.port}", "aws": {"region": "us-east-1"}}
    return {"name": "aws", "type": "bedrock", "api_key": "bedrock-api-key-1", **where}


def streamed(*pieces: bytes, end: Step = b"0\r\n\r\n") -> list[Step]:
    return [stream_head(MEDIA_TYPE), *map(piece, pieces), end]


def whole(*content: dict[str, Any], stop: str = "end_turn", **more: Any) -> bytes:
    told = {"output": {"message": {"role": "assistant", "content": list(content)}}, "stopReason": stop}
    return answer({**told, "usage": COUNTED, "metrics": {"latencyMs": 1}, **more})


async def turn(bedrock: Bedrock, *, stream: bool = False, into: list[TurnEvent] | None = None) -> list[TurnEvent]:
    events: list[TurnEvent] = [] if into is None else into
    async with aclosing(bedrock.turn(TurnRequest("m:1", (HI,), stream=stream))) as batches:
        async for batch in batches:
            events += batch
    return events


# ---- turns ----------------------------------------------------------------------------------------------------------


async def test_a_stream_is_a_turn_however_its_bytes_are_cut(upstream: ScriptedUpstream, bedrock: Bedrock) -> None:
    data = b"".join(STREAMED)
    upstream.play(streamed(data))
    upstream.play(streamed(*STREAMED))
    upstream.play(streamed(*(data[at : at + 61] for at in range(0, len(data), 61))))

    assert await turn(bedrock, stream=True) == EVENTS
    assert await turn(bedrock, stream=True) == EVENTS
    assert await turn(bedrock, stream=True) == EVENTS
    assert upstream.requests[0].path == "/model/m%3A1/converse-stream"
    assert upstream.requests[0].headers["accept"] == MEDIA_TYPE
    assert upstream.connections == 1


async def test_an_answer_in_one_piece_is_the_same_turn(upstream: ScriptedUpstream, bedrock: Bedrock) -> None:
    upstream.play(
        whole(
            {"reasoningContent": {"reasoningText": {"text": "so it is", "signature": "sig=="}}},
            {"reasoningContent": {"redactedContent": REDACTED}},
            {"text": "Let me see."},
            {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
            stop="tool_use",
            serviceTier={"type": "flex"},
        )
    )
    assert await turn(bedrock) == [
        TurnStarted(),
        ReasoningDelta("so it is"),
        ReasoningEnded("trivet:bedrock:signature:sig=="),
        ReasoningEnded(f"trivet:bedrock:redacted:{REDACTED}"),
        TextDelta("Let me see."),
        ToolCallStarted(0, "t1", "f"),
        ToolCallDelta(0, '{"a":1}'),
        TurnFinished("tool_calls", USAGE, "flex"),
    ]
    assert upstream.requests[0].path == "/model/m%3A1/converse"
    assert upstream.requests[0].body == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "stop"),
    ],
)
async def test_a_turn_ends_for_the_reason_that_the_model_had(
    upstream: ScriptedUpstream, bedrock: Bedrock, told: str, reason: str
) -> None:
    upstream.play(whole({"text": "x"}, stop=told))
    last = (await turn(bedrock))[-1]
    assert isinstance(last, TurnFinished)
    assert last.reason == reason


@pytest.mark.parametrize("stream", [False, True])
async def test_a_malformed_answer_is_no_answer(upstream: ScriptedUpstream, bedrock: Bedrock, stream: bool) -> None:
    upstream.play(streamed(event("messageStop", stopReason="malformed_tool_use")) if stream else whole(stop="malformed_tool_use"))
    with pytest.raises(UpstreamFailed, match="malformed"):
        await turn(bedrock, stream=stream)


async def test_citations_are_annotations(upstream: ScriptedUpstream, bedrock: Bedrock) -> None:
    web = {"title": "A page", "location": {"web": {"url": "https://example.com/a"}}}
    page = {"title": "report", "source": "doc", "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}}
    upstream.play(whole({"text": "So: "}, {"citationsContent": {"content": [{"text": "it is"}], "citations": [web, page]}}))
    upstream.play(
        streamed(
            event("contentBlockDelta", contentBlockIndex=0, delta={"text": "it is"}),
            event("contentBlockDelta", contentBlockIndex=0, delta={"citation": web}),
            event("messageStop", stopReason="end_turn"),
        )
    )

    found = [json.loads(one.raw) for one in await turn(bedrock) if isinstance(one, AnnotationAdded)]
    [later] = [json.loads(one.raw) for one in await turn(bedrock, stream=True) if isinstance(one, AnnotationAdded)]

    link = {"type": "url_citation", "url": "https://example.com/a", "title": "A page"}
    assert found[0] == {**link, "start_index": 4, "end_index": 9}
    assert found[1] == {"type": "file_citation", "file_id": "doc", "filename": "report", "index": 9}
    assert later == {**link, "start_index": 0, "end_index": 5}


async def test_what_aws_runs_itself_is_nothing_to_call(upstream: ScriptedUpstream, bedrock: Bedrock) -> None:
    server = {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use"}
    upstream.play(
        streamed(
            event("contentBlockStart", contentBlockIndex=0, start={"toolUse": server}),
            event("contentBlockDelta", contentBlockIndex=0, delta={"toolUse": {"input": "{}"}}),
            event("contentBlockStop", contentBlockIndex=0),
            event("newEvent", novel=1),
            event("messageStop", stopReason="end_turn"),
        )
    )
    assert await turn(bedrock, stream=True) == [TurnFinished("stop")]


async def test_tokens_are_counted_where_the_model_has_them_counted(upstream: ScriptedUpstream, bedrock: Bedrock) -> None:
    upstream.play(answer({"inputTokens": 7}))
    upstream.play(answer({"message": "The provided model doesn't support counting tokens."}, status=400))
    asked = TurnRequest("m:1", (Message("system", (Text("be brief"),)), HI), max_output_tokens=9)

    assert await bedrock.count_tokens(asked) == 7
    assert await bedrock.count_tokens(asked) is None
    assert upstream.requests[0].path == "/model/m%3A1/count-tokens"
    assert upstream.requests[0].body == {
        "input": {"converse": {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "system": [{"text": "be brief"}]}}
    }


# ---- faults ---------------------------------------------------------------------------------------------------------

BEGUN = [event("messageStart", role="assistant"), event("contentBlockDelta", contentBlockIndex=0, delta={"text": "x"})]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (exception("throttlingException", "Too many tokens, please wait."), RateLimited),
        (exception("serviceUnavailableException", "busy"), Overloaded),
        (exception("validationException", "The image is broken."), UpstreamRejected),
        (exception("internalServerException", "oops"), UpstreamFailed),
        (exception("modelStreamErrorException", "the model failed"), UpstreamFailed),
        (exception("modelTimeoutException", "slow"), UpstreamTimeout),
        (failure("InternalError", "somewhere in between"), UpstreamFailed),
        (STREAMED[5][:-4] + b"\x00\x00\x00\x00", UpstreamFailed),
        (event("contentBlockDelta", contentBlockIndex=0), UpstreamFailed),
        (event("contentBlockDelta", contentBlockIndex=0, delta={"text": 5}), UpstreamFailed),
        (b"\xff" * 64, UpstreamFailed),
    ],
)
async def test_a_fault_in_a_stream_comes_after_what_was_said_before_it(
    upstream: ScriptedUpstream, bedrock: Bedrock, fault: bytes, error: type[ServiceError]
) -> None:
    upstream.play(streamed(b"".join([*BEGUN, fault])))
    events: list[TurnEvent] = []
    with pytest.raises(error):
        await turn(bedrock, stream=True, into=events)
    assert events == [TurnStarted(), TextDelta("x")]


@pytest.mark.parametrize("end", [b"0\r\n\r\n", CLOSE])
async def test_a_stream_that_ends_early_has_failed(upstream: ScriptedUpstream, bedrock: Bedrock, end: Step) -> None:
    upstream.play(streamed(*BEGUN, end=end))
    with pytest.raises(UpstreamFailed):
        await turn(bedrock, stream=True)


async def test_a_stream_that_breaks_after_the_model_has_stopped_is_whole(upstream: ScriptedUpstream, bedrock: Bedrock) -> None:
    upstream.play(streamed(*BEGUN, event("messageStop", stopReason="max_tokens"), end=CLOSE))
    assert await turn(bedrock, stream=True) == [TurnStarted(), TextDelta("x"), TurnFinished("length")]


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "ValidationException", UpstreamRejected),
        (404, "ResourceNotFoundException", UpstreamRejected),
        (403, "AccessDeniedException", UpstreamFailed),
        (429, "ThrottlingException", RateLimited),
        (429, "ModelNotReadyException", Overloaded),
        (503, "ServiceUnavailableException", Overloaded),
        (408, "ModelTimeoutException", UpstreamTimeout),
        (424, "ModelErrorException", UpstreamFailed),
        (500, "InternalServerException", UpstreamFailed),
    ],
)
async def test_errors_are_known_by_what_aws_calls_them(
    upstream: ScriptedUpstream, bedrock: Bedrock, status: int, kind: str, error: type[ServiceError]
) -> None:
    headers = {"x-amzn-ErrorType": f"{kind}:http://internal.amazon.com/coral/"}
    upstream.play(answer({"message": "It is as it is."}, status=status, headers=headers))
    with pytest.raises(error) as raised:
        await turn(bedrock)
    if error is UpstreamRejected:
        assert raised.value.message == "It is as it is."
        assert raised.value.metadata == {"http_status": str(status), "type": kind}


@pytest.mark.parametrize("broken", [{}, {"output": {}}, {"output": {"message": {"content": 5}}, "stopReason": "end_turn"}])
async def test_an_answer_that_breaks_the_api_has_failed(upstream: ScriptedUpstream, bedrock: Bedrock, broken: Any) -> None:
    upstream.play(answer(broken))
    with pytest.raises(UpstreamFailed, match="broke its API"):
        await turn(bedrock)


async def test_an_answer_of_another_kind_than_a_stream_has_failed(upstream: ScriptedUpstream, bedrock: Bedrock) -> None:
    upstream.play(whole({"text": "x"}))
    with pytest.raises(UpstreamFailed, match="something else"):
        await turn(bedrock, stream=True)


async def test_a_client_that_leaves_ends_the_upstream_call(upstream: ScriptedUpstream, bedrock: Bedrock) -> None:
    upstream.play(stream_head(MEDIA_TYPE), piece(b"".join(BEGUN)), asyncio.Event())
    async with aclosing(bedrock.turn(TurnRequest("m", (HI,), stream=True))) as batches:
        await anext(batches)
    await upstream.until(lambda: upstream.abandoned == 1)


# ---- faces ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def stub(upstream: ScriptedUpstream) -> AsyncIterator[Any]:
    configured = ModelSettings.model_validate({"providers": [settings(upstream)]})
    async with open_model_service(configured) as service, serving(add_ModelServiceServicer_to_server, service.models) as channel:
        yield ModelServiceStub(channel)


async def test_chat_completions_stream_over_it(upstream: ScriptedUpstream, stub: Any) -> None:
    upstream.play(streamed(*STREAMED))
    asked = {"model": "aws/m:1", "messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}}
    chunks: list[dict[str, Any]] = []
    async for batch in stub.StreamChatCompletion(codec_for(CreateChatCompletionRequest).decode(asked)):
        told = json.loads(codec_for(ChatCompletionChunkBatch).dumps(batch))
        ready = told.pop("chunks")
        chunks += [{**told, **chunk} for chunk in ready]

    assert check_chat_stream([{**chunks[0], **chunk} for chunk in chunks]) == []
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "Let me see."
    assert chunks[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 8


async def test_responses_stream_over_it_and_bring_its_reasoning_back(upstream: ScriptedUpstream, stub: Any) -> None:
    upstream.play(streamed(*STREAMED))
    upstream.play(whole({"text": "done"}))
    asked = {"model": "aws/m:1", "store": False, "include": ["reasoning.encrypted_content"]}
    tools = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in "fg"]
    events: list[dict[str, Any]] = []
    async for batch in stub.StreamResponse(codec_for(CreateResponseRequest).decode({**asked, "input": "hi", "tools": tools})):
        events += json.loads(codec_for(ResponseEventBatch).dumps(batch))["events"]
    assert check_responses_stream(events) == []

    output = events[-1]["response"]["output"]
    results = [{"type": "function_call_output", "call_id": call, "output": "ok"} for call in ("t1", "t2")]
    again = [{"role": "user", "content": "hi"}, *output, *results]
    await stub.CreateResponse(codec_for(CreateResponseRequest).decode({**asked, "input": again, "tools": tools}))

    assert upstream.requests[1].body["messages"] == [
        {"role": "user", "content": [{"text": "hi"}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "so it is", "signature": "sig=="}}},
                {"text": "Let me see."},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
                {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t1", "content": [{"text": "ok"}]}},
                {"toolResult": {"toolUseId": "t2", "content": [{"text": "ok"}]}},
            ],
        },
    ]
