"""The Responses dialect over scripted bytes: turns, pass-through, and what sloppy or broken servers send."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.model.ended import ended
from tests.model.responses_events import (
    CALL,
    CITATION,
    CUSTOM,
    MESSAGE,
    OUTPUT,
    REASONING,
    SEARCH,
    completed,
    event,
    message,
    numbered,
    response,
    snapshot,
    sse,
    whole,
)
from tests.upstreams.scripted import CLOSE, ScriptedUpstream, answer, piece, stream, stream_head
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.runs import without_runs
from trivet.kernel.errors import RateLimited, ServiceError, UpstreamFailed, UpstreamRejected
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.ports import Dialect, ModelInfo
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    HostedItem,
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
from trivet.model_service.faces.native import NativeResponses
from trivet.model_service.faces.responses import Ending
from trivet.model_service.faces.responses_echo import begin

Json = dict[str, Any]

STARTED = TurnStarted("resp_up", "gpt-up-2026", 1700000000)
HI = (TokenLogprob("Hi", -0.5, (72, 105)),)
FINISHED = TurnFinished("tool_calls", Usage(10, 5, 15, 4, 1, 2), "default")


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def dialect(upstream: ScriptedUpstream) -> AsyncIterator[OpenAIResponses]:
    opened: Dialect = OpenAIResponses(UpstreamHttp("oai", Endpoint(upstream.base_url)))
    assert isinstance(opened, OpenAIResponses)
    assert isinstance(opened, NativeResponses)
    yield opened
    await opened.aclose()


def asked(**changes: Any) -> CreateResponseRequest:
    return codec_for(CreateResponseRequest).decode({"model": "oai/gpt", "input": "hi"} | changes, strict=True)


async def turn(dialect: OpenAIResponses, *, streamed: bool = True) -> list[TurnEvent]:
    request = TurnRequest("gpt", (Message("user", (Text("hi"),)),), stream=streamed)
    return [found async for batch in dialect.turn(request) for found in batch]


async def created(dialect: OpenAIResponses, request: CreateResponseRequest) -> Response:
    return await dialect.create_response(request, "gpt", begin(request, "oai"))


def batches_of(dialect: OpenAIResponses, **changes: Any) -> AsyncGenerator[ResponseEventBatch]:
    request, ending = asked(**changes), Ending()
    return ended(dialect.stream_response(request, "gpt", begin(request, "oai"), ending), ending)


async def streamed(dialect: OpenAIResponses, **changes: Any) -> list[Json]:
    """The events that are passed on, checked."""
    batches = batches_of(dialect, **changes)
    events = [
        orjson.loads(codec_for(ResponseEvent).dumps(found))
        async for batch in batches
        for found in without_runs(batch, "events").events
    ]  # fmt: skip
    assert check_responses_stream(events) == []
    return events


def as_json(made: Response) -> Json:
    found: Json = orjson.loads(codec_for(Response).dumps(made))
    return found


# ---- turns -------------------------------------------------------------------------------------------------------------


async def test_a_stream_becomes_the_events_of_a_turn(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(stream(sse(whole())))

    assert await turn(dialect) == [
        STARTED,
        ReasoningDelta("Thinking.", 0),
        ReasoningEnded("enc"),
        HostedItem(orjson.dumps(SEARCH).decode()),
        TextDelta("Hi", HI),
        AnnotationAdded(orjson.dumps(CITATION).decode()),
        TextDelta(" there"),
        ToolCallStarted(0, "call_1", "f"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(0, ":1}"),
        ToolCallStarted(1, "call_2", "g", "custom"),
        ToolCallDelta(1, "go on"),
        FINISHED,
    ]
    assert (upstream.requests[0].path, upstream.requests[0].body["stream"]) == ("/v1/responses", True)


async def test_a_whole_response_becomes_the_same_turn(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(answer(completed()))

    assert await turn(dialect, streamed=False) == [
        STARTED,
        ReasoningDelta("Thinking.", 0),
        ReasoningEnded("enc"),
        HostedItem(orjson.dumps(SEARCH).decode()),
        TextDelta("Hi there", HI),
        AnnotationAdded(orjson.dumps(CITATION).decode()),
        ToolCallStarted(0, "call_1", "f"),
        ToolCallDelta(0, '{"a":1}'),
        ToolCallStarted(1, "call_2", "g", "custom"),
        ToolCallDelta(1, "go on"),
        FINISHED,
    ]


@pytest.mark.parametrize("without", ["delta", "done", "added", "output_item"])
async def test_what_deltas_leave_out_later_events_make_up_for(
    without: str, upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    upstream.play(stream(sse([one for one in whole() if without not in one["type"]])))

    found = await turn(dialect)

    assert "".join(one.text for one in found if isinstance(one, TextDelta)) == "Hi there"
    assert "".join(one.arguments for one in found if isinstance(one, ToolCallDelta)) == '{"a":1}go on'
    assert sum(isinstance(one, AnnotationAdded) for one in found) == 1
    assert found[-1] == FINISHED


async def test_refusals_and_raw_reasoning_are_read(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    place = {"item_id": "x", "content_index": 0}
    thought = REASONING | {"summary": [], "encrypted_content": None, "content": [{"type": "reasoning_text", "text": "hm!"}]}
    refusal = MESSAGE | {"content": [{"type": "refusal", "refusal": "I cannot"}]}
    events = [
        snapshot("created"),
        event("reasoning_text.delta", **place, output_index=0, delta="hm"),
        event("output_item.done", output_index=0, item=thought),
        event("refusal.delta", **place, output_index=1, delta="I"),
        event("output_item.done", output_index=1, item=refusal),
        snapshot("completed", completed(output=[thought, refusal], usage=None)),
    ]
    upstream.play(stream(sse(events)))

    assert await turn(dialect) == [
        STARTED,
        ReasoningDelta("hm"),
        ReasoningDelta("!"),
        ReasoningEnded(),
        RefusalDelta("I"),
        RefusalDelta(" cannot"),
        TurnFinished("stop", None, "default"),
    ]


@pytest.mark.parametrize(
    ("why", "reason"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), (None, "length")]
)
async def test_an_incomplete_response_tells_why(
    why: str | None, reason: str, upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    cut = response("incomplete", incomplete_details={"reason": why}, output=[MESSAGE])
    upstream.play(stream(sse([snapshot("created"), snapshot("incomplete", cut)])))

    found = (await turn(dialect))[-1]

    assert isinstance(found, TurnFinished)
    assert found.reason == reason


FAILED = {"code": "rate_limit_exceeded", "message": "Slow down."}


@pytest.mark.parametrize(
    "last",
    [
        snapshot("failed", response("failed", error=FAILED)),
        {"type": "error", "error": {"type": "rate_limit_error", **FAILED}},
        {"type": "error", **FAILED},
        {"error": {"type": "rate_limit_error", **FAILED}},
    ],
    ids=["failed", "nested", "flat", "bare"],
)
async def test_an_error_ends_the_turn_after_what_came_before(
    last: Json, upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    events = [*whole()[:-2], last]
    upstream.play(stream("".join(f"data: {orjson.dumps(one).decode()}\n\n" for one in events).encode()))
    found: list[TurnEvent] = []

    async def read() -> None:
        async for batch in dialect.turn(TurnRequest("gpt", (), stream=True)):
            found.extend(batch)

    with pytest.raises(RateLimited, match=r"Slow down\."):
        await read()

    assert found[-1] == ToolCallDelta(1, "go on")


BROKEN = {
    "an early end": sse(whole()[:-1]),
    "no JSON": sse(whole()[:3]) + b"data: {\n\n",
    "no object": b"data: []\n\n",
    "an item that is none": sse([snapshot("created"), event("output_item.done", output_index=0, item=[1])]),
    "an item that is missing": sse([snapshot("created"), event("output_item.done", output_index=0)]),
    "nothing": b": ping\n\n",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_stream_is_the_provider_s_failure(
    raw: bytes, upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    upstream.play(stream(raw))

    with pytest.raises(UpstreamFailed, match="`oai`"):
        await turn(dialect)


@pytest.mark.parametrize(
    "body",
    [{}, {"object": "response"}, completed(output=[MESSAGE | {"content": [{"text": 1}]}], completed_at="x")],
)
async def test_an_answer_that_is_no_response_is_the_provider_s_failure(
    body: Json, upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    upstream.play(answer(body))
    with pytest.raises(UpstreamFailed):
        await turn(dialect, streamed=False)

    upstream.play(answer(body))
    with pytest.raises(UpstreamFailed):
        await created(dialect, asked())


async def test_a_failed_response_fails_a_turn(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(answer(response("failed", error=FAILED)))

    with pytest.raises(RateLimited):
        await turn(dialect, streamed=False)


async def test_models_are_listed(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(answer({"object": "list", "data": [{"id": "a", "created": 7}, {"id": "b", "created": None}, {"id": 3}, "c"]}))
    upstream.play(answer({"data": None}))

    assert await dialect.list_models() == [ModelInfo("a", 7), ModelInfo("b")]
    with pytest.raises(UpstreamFailed):
        await dialect.list_models()


# ---- pass-through ------------------------------------------------------------------------------------------------------


async def test_a_request_passes_through_unchanged_but_for_the_model(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    given = {
        "model": "oai/gpt",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "https://a.example", "x": 1}]},
            {"type": "novel", "deep": {"a": [None]}},
        ],
        "tools": [{"type": "web_search", "search_context_size": "low"}, {"type": "novel"}, {"type": "function", "name": "f"}],
        "temperature": None,
        "client_metadata": {"a": [1]},
    }
    upstream.play(answer(completed()))

    await created(dialect, codec_for(CreateResponseRequest).decode(given, strict=True))

    assert upstream.requests[0].body == given | {"model": "gpt", "stream": False, "store": False}


async def test_a_response_passes_through_with_the_caller_s_model_and_the_provider(
    upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    upstream.play(answer(completed()))

    found = as_json(await created(dialect, asked()))

    told = completed() | {"model": "oai/gpt", "provider": "oai"}
    changed = {"temperature": 1.0}
    for ours in ("id", "created_at", "user"):
        del told[ours]
    assert found["id"].startswith("resp_")
    assert found["id"] != "resp_up"
    assert {key: found[key] for key in told} == told | changed
    assert found["presence_penalty"] == 0.0


async def test_a_completed_response_tells_when_that_was(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(answer(completed(completed_at=None)))

    found = as_json(await created(dialect, asked()))

    assert found["completed_at"] >= found["created_at"]


async def test_what_an_upstream_leaves_out_the_request_tells(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(answer({"id": "resp_1", "output": [], "created_at": 1700000000.5, "completed_at": 1700000002.5}))
    tool = {"type": "function", "name": "f"}

    found = as_json(await created(dialect, asked(temperature=0.5, metadata={"k": "v"}, tools=[tool])))

    assert (found["temperature"], found["metadata"]) == (0.5, {"k": "v"})
    assert found["completed_at"] == 1700000002
    assert found["tools"] == [tool | {"description": None, "parameters": None, "strict": None}]


async def test_a_failed_response_is_an_answer(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(answer(response("failed", error=FAILED)))

    found = as_json(await created(dialect, asked()))

    assert (found["status"], found["error"]) == ("failed", FAILED)


async def test_a_rejection_keeps_its_message(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(answer({"error": {"message": "Too hot.", "param": "temperature", "code": "c"}}, status=400))
    upstream.play(answer({"error": {"message": "Too hot.", "type": "invalid_request_error"}}))

    for _ in range(2):
        with pytest.raises(UpstreamRejected, match=r"Too hot\."):
            await created(dialect, asked())


async def test_a_stream_passes_through_whole(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(stream(sse(whole(), done=True)))

    found = await streamed(dialect)

    sent = whole()
    assert [one["type"] for one in found] == [one["type"] for one in sent]
    assert found[2:-1] == sent[2:-1]
    assert found[-1]["response"]["output"] == OUTPUT
    assert {one["response"]["model"] for one in found if "response" in one} == {"oai/gpt"}


@pytest.mark.parametrize("named", [True, False])
async def test_the_last_event_ends_a_stream_that_stays_open(
    named: bool, upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    upstream.play(stream_head(), piece(sse(whole(), named=named)), asyncio.Event())

    async with asyncio.timeout(30):
        assert len(await streamed(dialect)) == len(whole())


MENDED = {
    "no created": whole()[1:],
    "no in_progress": [whole()[0], *whole()[2:]],
    "neither": whole()[2:],
    "created twice": [whole()[0], *whole()],
    "wrong numbers": [one | {"sequence_number": 7} for one in whole()],
    "no numbers": [{key: value for key, value in one.items() if key != "sequence_number"} for one in whole()],
    "other ids": [*whole()[:-1], snapshot("completed", completed(id="resp_other"))],
    "an end without output": [*whole()[:-1], snapshot("completed", completed(output=[]))],
    "a created that is done": [snapshot("created", completed()), *whole()[1:]],
    "more after the end": [*whole(), *message()],
    "an empty in_progress": [snapshot("created"), {"type": "response.in_progress"}, *whole()[2:]],
}


@pytest.mark.parametrize("events", MENDED.values(), ids=MENDED.keys())
async def test_a_sloppy_stream_is_mended(events: list[Json], upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(stream(sse(events)))

    found = await streamed(dialect)

    assert [one["type"] for one in found] == [one["type"] for one in whole()]
    assert found[-1]["response"]["output"] == OUTPUT


def mixed() -> list[Json]:
    """As llama.cpp streams: no numbers, no places, bare snapshots, and calls that are ended together."""
    items = [CALL | {"id": name, "call_id": f"call_{name}", "arguments": f'{{"{name}":1}}'} for name in "ab"]
    begun = {"response": {"id": "resp_up", "object": "response", "status": "in_progress"}}
    opened = [
        made
        for item in items
        for made in (
            event("output_item.added", item=item | {"arguments": "", "status": "in_progress"}),
            event("function_call_arguments.delta", item_id=item["id"], delta=item["arguments"]),
        )
    ]
    ended = [event("output_item.done", item=item) for item in items]
    last = {"response": {"id": "resp_up", "object": "response", "status": "completed", "output": items}}
    return [event("created", **begun), event("in_progress", **begun), *opened, *ended, event("completed", **last)]


async def test_a_stream_that_mixes_its_items_is_made_anew(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(stream(*(sse([one]) for one in mixed())))

    found = await streamed(dialect)

    calls = [one["item"] for one in found if one["type"] == "response.output_item.done"]
    assert [(call["call_id"], call["arguments"]) for call in calls] == [("call_a", '{"a":1}'), ("call_b", '{"b":1}')]
    assert found[-1]["response"]["output"] == calls


async def test_a_stream_that_mixes_its_items_is_a_turn(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(stream(sse(mixed())))

    assert (await turn(dialect))[1:-1] == [
        ToolCallStarted(0, "call_a", "f"),
        ToolCallDelta(0, '{"a":1}'),
        ToolCallStarted(1, "call_b", "f"),
        ToolCallDelta(1, '{"b":1}'),
    ]


async def test_a_mixed_stream_that_breaks_off_ends_with_an_error_and_failed(
    upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    upstream.play(stream(sse(mixed()[:4])), CLOSE)

    found = await streamed(dialect)

    assert [one["type"] for one in found[-2:]] == ["error", "response.failed"]


async def test_a_stream_of_only_its_end_is_begun(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(stream(sse([snapshot("completed", completed(output=[]))])))

    assert [one["type"] for one in await streamed(dialect)] == ["response.created", "response.in_progress", "response.completed"]


async def test_a_whole_response_in_place_of_a_stream_is_told_as_one(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    for _ in range(2):
        upstream.play(answer(completed()))

    found = await streamed(dialect)

    said = "".join(one["delta"] for one in found if one["type"] == "response.output_text.delta")
    assert said == MESSAGE["content"][0]["text"]
    assert [item["type"] for item in found[-1]["response"]["output"]] == [item["type"] for item in OUTPUT]
    assert (await turn(dialect))[-1] == FINISHED


async def test_an_output_that_is_no_list_of_items_fails_a_turn(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(answer({"output": [1]}))

    with pytest.raises(UpstreamFailed):
        await turn(dialect, streamed=False)


async def test_a_background_stream_is_queued_first(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    queued = response("queued", background=True)
    events = [snapshot("created", queued), snapshot("queued", queued), *whole()[1:]]
    upstream.play(stream(sse(events)))

    found = await streamed(dialect, background=True)

    assert [one["response"]["status"] for one in found[:3]] == ["queued", "queued", "in_progress"]


@pytest.mark.parametrize("cut", [1, 2, 5, 12, 20])
async def test_a_stream_that_breaks_off_ends_with_an_error_and_failed(
    cut: int, upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    upstream.play([stream_head(), piece(sse(whole()[:cut])), CLOSE])

    found = await streamed(dialect)

    assert [one["type"] for one in found[-2:]] == ["error", "response.failed"]
    assert (found[-2]["code"], found[-1]["response"]["error"]["code"]) == ("upstream_failed", "server_error")


@pytest.mark.parametrize(
    "tail", [[], [snapshot("failed", response("failed", error=FAILED))], message()], ids=["end", "failed", "more"]
)
async def test_an_error_in_the_middle_is_told_in_both_forms_then_failed(
    tail: list[Json], upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    nested = {"type": "error", "sequence_number": 9, "error": {"type": "rate_limit_error", "param": None, **FAILED}}
    upstream.play(stream(sse([*whole()[:8], nested, *tail])))

    found = await streamed(dialect)

    assert [one["type"] for one in found[-2:]] == ["error", "response.failed"]
    assert (found[-2]["message"], found[-2]["error"]["code"]) == ("Slow down.", "rate_limit_exceeded")
    assert found[-1]["response"]["error"] == FAILED


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (sse([{"type": "error", "error": {"type": "rate_limit_error", **FAILED}}]), RateLimited),
        (b"", UpstreamFailed),
        (b"data: {\n\n", UpstreamFailed),
    ],
)
async def test_an_error_before_the_first_event_is_raised(
    script: bytes, error: type[ServiceError], upstream: ScriptedUpstream, dialect: OpenAIResponses
) -> None:
    upstream.play([stream_head(), *([piece(script)] if script else []), b"0\r\n\r\n"])

    with pytest.raises(error):
        await streamed(dialect)


async def test_an_event_that_breaks_the_api_fails_the_stream(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(stream(sse([*whole()[:2], event("output_item.added", output_index="x", item=CALL), *whole()[3:]])))

    found = await streamed(dialect)

    assert found[-2]["message"] == "The provider `oai` broke its API at `output_index`."


async def test_events_are_passed_on_before_the_upstream_is_done(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    gate = asyncio.Event()
    upstream.play(stream(sse(whole()[:3]), gate, sse(whole()[3:])))

    async with asyncio.timeout(30), aclosing(batches_of(dialect)) as batches:
        assert [one.WhichOneof("event") for one in (await anext(batches)).events] == [
            "created",
            "in_progress",
            "output_item_added",
        ]
        gate.set()
        assert (await anext(batches)).events[-1].WhichOneof("event") == "completed"


@pytest.mark.parametrize("native", [True, False])
async def test_leaving_a_stream_closes_its_connection(native: bool, upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    upstream.play(stream_head(), piece(sse(whole()[:3])), asyncio.Event())
    batches: Any = batches_of(dialect)
    if not native:
        batches = dialect.turn(TurnRequest("gpt", (), stream=True))

    await anext(batches)
    await batches.aclose()

    await upstream.until(lambda: upstream.open == 0)


async def test_a_finished_stream_gives_its_connection_back(upstream: ScriptedUpstream, dialect: OpenAIResponses) -> None:
    for _ in range(2):
        upstream.play(stream(sse(whole())))
        await streamed(dialect)

    assert upstream.connections == 1


def test_the_material_is_well() -> None:
    """What the tests above send as good streams is good, but for what only a gateway adds."""
    assert [
        found
        for found in check_responses_stream(whole())
        if "provider" not in found and "null" not in found and "penalty" not in found
    ] == []
    assert numbered([CUSTOM])[0]["sequence_number"] == 0
