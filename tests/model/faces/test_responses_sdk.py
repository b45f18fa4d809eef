"""The official SDK, whose accumulator is strict about a stream's nesting, reads what the face renders."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from openai import APIError, AsyncOpenAI

from tests.upstreams.scripted import ScriptedUpstream, stream
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import UpstreamFailed
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.turn import (
    AnnotationAdded,
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
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.faces.responses_render import ResponseRenderer
from trivet.model_service.faces.responses_tools import namespaced

EVENTS: list[TurnEvent] = [
    TurnStarted(),
    ReasoningDelta("thinking"),
    ReasoningEnded("enc"),
    ReasoningDelta("a", 0),
    ReasoningDelta("b", 1),
    TextDelta("Hel", (TokenLogprob("Hel", -0.5, (1,), (TokenLogprob("Hel", -0.5),)),)),
    AnnotationAdded('{"type":"url_citation","url":"https://a.example","title":"A","start_index":0,"end_index":1}'),
    TextDelta("lo"),
    RefusalDelta("no"),
    ToolCallStarted(0, "call_1", "f"),
    ToolCallStarted(1, "call_2", "g"),
    ToolCallDelta(1, '{"b":2}'),
    ToolCallDelta(0, '{"a":1}'),
    ToolCallStarted(2, "call_3", "c", "custom"),
    ToolCallDelta(2, "go"),
]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


def sse(events: list[ResponseEvent]) -> bytes:
    lines = []
    for event in events:
        data = codec_for(ResponseEvent).dumps(event)
        lines.append(b"event: %b\ndata: %b\n\n" % (orjson.loads(data)["type"].encode(), data))
    return b"".join([*lines, b"data: [DONE]\n\n"])


def renderer() -> ResponseRenderer:
    asked = {"model": "lab/fast", "input": "hi", "tools": [{"type": "function", "name": "f"}]}
    request = codec_for(CreateResponseRequest).decode(asked, strict=True)
    return ResponseRenderer(begin(request, "lab"), namespaced(request.tools))


def output(made: ResponseRenderer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(codec_for(Response).dumps(made.response))["output"]
    return found


async def read(upstream: ScriptedUpstream) -> Any:
    async with (
        AsyncOpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client,
        client.responses.stream(model="lab/fast", input="hi") as events,
    ):
        return await events.get_final_response()


async def test_what_the_sdk_adds_up_is_the_response(upstream: ScriptedUpstream) -> None:
    made = renderer()
    upstream.play(stream(sse(made.render([*EVENTS, TurnFinished("tool_calls", Usage(1, 2, 3))]))))

    final = await read(upstream)

    assert final.output_text == "Hello"
    assert [item.type for item in final.output] == [
        "reasoning",
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "custom_tool_call",
    ]
    assert [item.id for item in final.output] == [json["id"] for json in output(made)]
    assert {item.status for item in final.output} == {"completed"}


async def test_the_sdk_raises_the_error_of_a_stream_that_fails(upstream: ScriptedUpstream) -> None:
    made = renderer()
    upstream.play(stream(sse([*made.render(EVENTS), *made.fail(UpstreamFailed("It broke."))])))

    with pytest.raises(APIError, match=r"It broke\."):
        await read(upstream)
