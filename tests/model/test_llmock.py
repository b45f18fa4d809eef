"""The chat dialect against a mock server of others (llmock): turns, pass-through, and each fault it can make."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from llmock.pytest_plugin import LLMock

from tests.checkers.chat_stream import check_chat_stream
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
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.upstream_answer import UpstreamLimits
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.turn import (
    FunctionTool,
    Message,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolResult,
    TurnEvent,
    TurnFinished,
    TurnRequest,
)

MODEL = "gpt-4o-mini"
SCHEMA = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'
WEATHER = FunctionTool("get_weather", "The weather of a city.", SCHEMA)
QUESTION = Message("user", (Text("What is the weather in Paris?"),))


@pytest.fixture
async def dialect(llmock: LLMock) -> AsyncIterator[OpenAIChat]:
    endpoint = Endpoint(llmock.base_url(), "sk-test")
    opened = OpenAIChat(UpstreamHttp("mock", endpoint, limits=UpstreamLimits(read_seconds=2)))
    yield opened
    await opened.aclose()


def turn(*more: Any, streamed: bool = True, tools: tuple[FunctionTool, ...] = ()) -> TurnRequest:
    return TurnRequest(MODEL, (QUESTION, *more), stream=streamed, tools=tools)


async def events(dialect: OpenAIChat, request: TurnRequest) -> list[TurnEvent]:
    return [event async for batch in dialect.turn(request) for event in batch]


def request(**more: Any) -> CreateChatCompletionRequest:
    body = {"model": f"mock/{MODEL}", "messages": [{"role": "user", "content": "hi"}], **more}
    decoded: CreateChatCompletionRequest = codec_for(CreateChatCompletionRequest).decode(body)
    return decoded


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_arrives(llmock: LLMock, dialect: OpenAIChat, streamed: bool) -> None:
    llmock.reply("Paris is sunny today.")
    found = await events(dialect, turn(streamed=streamed))
    assert "".join(event.text for event in found if isinstance(event, TextDelta)) == "Paris is sunny today."
    last = found[-1]
    assert isinstance(last, TurnFinished)
    assert last.reason == "stop"
    assert last.usage is not None
    assert last.usage.total_tokens > 0


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_tool_goes_there_and_back(llmock: LLMock, dialect: OpenAIChat, streamed: bool) -> None:
    found = await events(dialect, turn(streamed=streamed, tools=(WEATHER,)))
    [begun] = [event for event in found if isinstance(event, ToolCallStarted)]
    arguments = "".join(event.arguments for event in found if isinstance(event, ToolCallDelta))
    assert begun.name == "get_weather"
    assert "city" in json.loads(arguments)
    assert isinstance(found[-1], TurnFinished)
    assert found[-1].reason == "tool_calls"
    call, result = ToolCall(begun.id, begun.name, arguments), ToolResult(begun.id, (Text("21C"),))
    again = await events(dialect, turn(call, result, streamed=streamed, tools=(WEATHER,)))
    assert any(isinstance(event, TextDelta) for event in again)


async def test_a_stream_that_passes_through_is_sound(llmock: LLMock, dialect: OpenAIChat) -> None:
    shared: dict[str, Any] = {}
    chunks: list[dict[str, Any]] = []
    asked = request(stream_options={"include_usage": True})
    async for batch in dialect.stream_chat_completion(asked, MODEL):
        encoded = json.loads(codec_for(ChatCompletionChunkBatch).dumps(batch))
        ready = encoded.pop("chunks")
        shared |= {key: value for key, value in encoded.items() if value is not None}
        chunks += [shared | one for one in ready]
    assert check_chat_stream(chunks) == []
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert {chunk["model"] for chunk in chunks} == {f"mock/{MODEL}"}
    completion = await dialect.create_chat_completion(request(), MODEL)
    assert completion.choices[0].message.content


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamRejected),
        (401, UpstreamFailed),
        (403, UpstreamFailed),
        (404, UpstreamRejected),
        (500, UpstreamFailed),
        (503, Overloaded),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_http_error_is_its_error(
    llmock: LLMock, dialect: OpenAIChat, status: int, kind: type[ServiceError], streamed: bool
) -> None:
    llmock.fail(status)
    with pytest.raises(ServiceError) as caught:
        await events(dialect, turn(streamed=streamed))
    assert type(caught.value) is kind
    assert len(llmock.requests) == 1


async def test_a_rate_limit_tells_when_to_try_again(llmock: LLMock, dialect: OpenAIChat) -> None:
    llmock.rate_limit(retry_after=7)
    with pytest.raises(RateLimited) as caught:
        await events(dialect, turn())
    assert caught.value.retry_after == 7


async def test_a_prompt_that_is_too_long_is_a_rejection_with_its_code(llmock: LLMock, dialect: OpenAIChat) -> None:
    llmock.context_overflow()
    with pytest.raises(UpstreamRejected, match="maximum context length") as caught:
        await events(dialect, turn())
    assert caught.value.metadata["code"] == "context_length_exceeded"


@pytest.mark.parametrize("fault", ["disconnect", "truncate", "corrupt"])
async def test_a_broken_stream_is_an_upstream_failure(llmock: LLMock, dialect: OpenAIChat, fault: str) -> None:
    getattr(llmock, fault)(after_chunks=2)
    with pytest.raises(UpstreamFailed):
        await events(dialect, turn())


async def test_a_stalled_stream_is_a_timeout(llmock: LLMock) -> None:
    endpoint = Endpoint(llmock.base_url(), "sk-test")
    dialect = OpenAIChat(UpstreamHttp("mock", endpoint, limits=UpstreamLimits(read_seconds=0.2)))
    llmock.stall(seconds=30)
    with pytest.raises(UpstreamTimeout):
        await events(dialect, turn())
    await dialect.aclose()


async def test_models_are_listed(dialect: OpenAIChat) -> None:
    assert len(await dialect.list_models()) > 0
