"""The Messages API passed through, over an upstream that plays exact bytes."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.upstreams.scripted import CLOSE, ScriptedUpstream, answer, piece, stream, stream_head
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import Overloaded, ServiceError, UpstreamFailed, UpstreamRejected
from trivet.model.v1.message_service_pb2 import CountMessageTokensRequest, CreateMessageRequest, MessageEventBatch
from trivet.model_service.adapters.anthropic_messages import AnthropicMessages
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint, key_header

ASKED: dict[str, Any] = {
    "model": "claude/haiku",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
    "novel": {"key": None},
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "haiku",
    "content": [{"type": "text", "text": "Zürich", "citations": None}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2, "novel": 1},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Zürich"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def sent(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in events)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as opened:
        yield opened


@pytest.fixture
async def messages(upstream: ScriptedUpstream) -> AsyncIterator[AnthropicMessages]:
    http = UpstreamHttp("claude", Endpoint(upstream.base_url, "sk-ant-secret"), authorize=key_header("x-api-key"))
    yield AnthropicMessages(http)
    await http.aclose()


def asked() -> CreateMessageRequest:
    return codec_for(CreateMessageRequest).decode(ASKED, strict=True)


async def streamed(messages: AnthropicMessages) -> tuple[list[dict[str, Any]], ServiceError | None]:
    """The events that arrived, and what ended them early."""
    found: list[dict[str, Any]] = []
    try:
        async for batch in messages.stream_message(asked(), "haiku", ""):
            found += json.loads(codec_for(MessageEventBatch).dumps(batch))["events"]
    except ServiceError as error:
        return found, error
    return found, None


async def test_a_message_passes_with_all_its_keys(upstream: ScriptedUpstream, messages: AnthropicMessages) -> None:
    upstream.play(answer(MESSAGE))
    message = await messages.create_message(asked(), "haiku", "novel-2026")

    assert json.loads(codec_for(type(message)).dumps(message)) == MESSAGE | {"model": "claude/haiku"}
    [request] = upstream.requests
    assert request.path == "/v1/messages"
    assert request.body == ASKED | {"model": "haiku"}
    assert request.headers["x-api-key"] == "sk-ant-secret"
    assert request.headers["anthropic-beta"] == "novel-2026"
    assert "authorization" not in request.headers


async def test_a_stream_passes_event_by_event(upstream: ScriptedUpstream, messages: AnthropicMessages) -> None:
    upstream.play(stream(sent(*EVENTS[:3]), sent(*EVENTS[3:])))
    found, error = await streamed(messages)

    assert error is None
    renamed = {"type": "message_start", "message": EVENTS[0]["message"] | {"model": "claude/haiku"}}
    assert found == [renamed, *EVENTS[1:]]
    assert upstream.requests[0].body["stream"] is True


@pytest.mark.parametrize(
    ("script", "error", "events"),
    [
        pytest.param([answer(OVERLOADED, status=529)], Overloaded, 0, id="refused"),
        pytest.param([answer({"error": {"message": "no"}}, status=400)], UpstreamRejected, 0, id="rejected"),
        pytest.param(stream(sent(*EVENTS[:4], OVERLOADED)), Overloaded, 4, id="an error in the stream"),
        pytest.param(stream(sent(*EVENTS[:4])), UpstreamFailed, 4, id="truncated"),
        pytest.param([stream_head(), piece(sent(*EVENTS[:4])), CLOSE], UpstreamFailed, 4, id="cut off"),
        pytest.param(stream(sent(*EVENTS[:4]) + b"data: {nonsense\n\n"), UpstreamFailed, 4, id="not JSON"),
        pytest.param(stream(sent(*EVENTS[:4]) + b"data: []\n\n"), UpstreamFailed, 4, id="not an object"),
        pytest.param(stream(b'data: {"type":"message_start","message":3}\n\n'), UpstreamFailed, 0, id="broken API"),
    ],
)
async def test_a_fault_ends_a_stream_after_what_came_before(
    upstream: ScriptedUpstream, messages: AnthropicMessages, script: Any, error: type[ServiceError], events: int
) -> None:
    upstream.play(*script)
    found, raised = await streamed(messages)

    assert isinstance(raised, error)
    assert len(found) == events
    assert "sk-ant-secret" not in raised.message


async def test_an_error_in_an_answer_with_status_200_is_an_error(upstream: ScriptedUpstream, messages: AnthropicMessages) -> None:
    for error in (OVERLOADED, {"error": OVERLOADED["error"]}):
        upstream.play(answer(error))
        with pytest.raises(Overloaded):
            await messages.create_message(asked(), "haiku", "")
        upstream.play(answer(error))
        with pytest.raises(Overloaded):
            await messages.count_message_tokens(CountMessageTokensRequest(model="claude/haiku"), "haiku", "")


async def test_an_answer_that_is_no_message_is_the_providers_mistake(
    upstream: ScriptedUpstream, messages: AnthropicMessages
) -> None:
    upstream.play(answer({"id": "msg_1"}))
    with pytest.raises(UpstreamFailed, match="without a message"):
        await messages.create_message(asked(), "haiku", "")


async def test_tokens_are_counted_by_the_provider(upstream: ScriptedUpstream, messages: AnthropicMessages) -> None:
    upstream.play(answer({"input_tokens": 14}))
    request = CountMessageTokensRequest(model="claude/haiku", extra='{"messages":[]}')

    assert (await messages.count_message_tokens(request, "haiku", "")).input_tokens == 14
    assert upstream.requests[0].path == "/v1/messages/count_tokens"
    assert upstream.requests[0].body == {"model": "haiku", "messages": []}
