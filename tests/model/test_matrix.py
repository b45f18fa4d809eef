"""Each face over each dialect, whole and streamed, against a mock server of others (llmock): text, and tools and back."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from llmock.pytest_plugin import LLMock

from tests.checkers.chat_stream import check_chat_stream
from tests.checkers.responses_stream import check_responses_stream
from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.testing import serving
from trivet.model.v1.model_service_pb2_grpc import ModelServiceStub, add_ModelServiceServicer_to_server
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.server import open_model_service
from trivet.model_service.settings import ModelSettings

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather of a city.", "parameters": SCHEMA}
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}

pytestmark = [
    pytest.mark.parametrize("provider", ["chat", "responses", "gemini", "claude"]),
    pytest.mark.parametrize("streamed", [True, False]),
]


@pytest.fixture
async def stub(llmock: LLMock) -> AsyncIterator[Any]:
    providers = [
        {"name": "chat", "type": "openai-chat", "base_url": llmock.base_url(), "api_key": "sk-test"},
        {"name": "responses", "type": "openai-responses", "base_url": llmock.base_url(), "api_key": "sk-test"},
    ]
    google = f"{llmock.base_url('gemini')}/v1beta"
    providers += [{"name": "gemini", "type": "gemini", "base_url": google, "api_key": "sk-test"}]
    claude = {"name": "claude", "type": "anthropic", "base_url": f"{llmock.base_url('anthropic')}/v1", "api_key": "sk-test"}
    providers.append(claude)
    settings = ModelSettings.model_validate({"providers": providers})
    async with (
        open_model_service(settings) as service,
        serving(add_ModelServiceServicer_to_server, service.models) as channel,
    ):
        yield ModelServiceStub(channel)


async def ask_chat(stub: Any, provider: str, streamed: bool, **body: Any) -> dict[str, Any]:
    """The message that answers, put together from its chunks where it is streamed."""
    asked = {"model": f"{provider}/gpt-4o-mini", "stream_options": {"include_usage": True}, **body}
    request = codec_for(CreateChatCompletionRequest).decode(asked)
    if not streamed:
        completion = json.loads(codec_for(ChatCompletion).dumps(await stub.CreateChatCompletion(request)))
        assert completion["model"] == asked["model"]
        assert completion["usage"]["total_tokens"] > 0
        message: dict[str, Any] = completion["choices"][0]["message"]
        return message
    shared: dict[str, Any] = {}
    chunks: list[dict[str, Any]] = []
    async for batch in stub.StreamChatCompletion(request):
        encoded = json.loads(codec_for(ChatCompletionChunkBatch).dumps(batch))
        ready = encoded.pop("chunks")
        shared |= {key: value for key, value in encoded.items() if value is not None}
        chunks += [shared | one for one in ready]
    assert check_chat_stream(chunks) == []
    assert chunks[-1]["usage"]["total_tokens"] > 0
    return merged([chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]])


def merged(deltas: list[dict[str, Any]]) -> dict[str, Any]:
    calls: dict[int, dict[str, Any]] = {}
    for call in (call for delta in deltas for call in delta.get("tool_calls") or ()):
        if call["index"] not in calls:
            calls[call["index"]] = {"id": call["id"], "type": call["type"], "function": dict(call["function"])}
        else:
            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    text = "".join(delta.get("content") or "" for delta in deltas)
    return {"role": "assistant", "content": text or None} | ({"tool_calls": list(calls.values())} if calls else {})


async def ask_responses(stub: Any, provider: str, streamed: bool, **body: Any) -> list[dict[str, Any]]:
    """The output that answers."""
    request = codec_for(CreateResponseRequest).decode({"model": f"{provider}/gpt-4o-mini", **body})
    if not streamed:
        response = json.loads(codec_for(Response).dumps(await stub.CreateResponse(request)))
    else:
        events: list[dict[str, Any]] = []
        async for batch in stub.StreamResponse(request):
            encoded = codec_for(ResponseEventBatch).dumps(batch)
            events += json.loads(encoded)["events"]
        assert check_responses_stream(events) == []
        response = events[-1]["response"]
    assert (response["status"], response["provider"], response["model"]) == (
        "completed",
        provider,
        f"{provider}/gpt-4o-mini",
    )
    assert response["usage"]["total_tokens"] > 0
    output: list[dict[str, Any]] = response["output"]
    return output


async def test_chat_text(llmock: LLMock, stub: Any, provider: str, streamed: bool) -> None:
    llmock.reply("Paris is sunny today.")
    message = await ask_chat(stub, provider, streamed, messages=[QUESTION])
    assert message["content"] == "Paris is sunny today."


async def test_chat_tools_there_and_back(llmock: LLMock, stub: Any, provider: str, streamed: bool) -> None:
    tools = [{"type": "function", "function": WEATHER}]
    message = await ask_chat(stub, provider, streamed, messages=[QUESTION], tools=tools)
    [call] = message["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert "city" in json.loads(call["function"]["arguments"])
    result = {"role": "tool", "tool_call_id": call["id"], "content": "21C"}
    answer = await ask_chat(stub, provider, streamed, messages=[QUESTION, message, result], tools=tools)
    assert answer["content"]


async def test_responses_text(llmock: LLMock, stub: Any, provider: str, streamed: bool) -> None:
    llmock.reply("Paris is sunny today.")
    [message] = await ask_responses(stub, provider, streamed, input="What is the weather in Paris?")
    assert message["content"][0]["text"] == "Paris is sunny today."


async def test_responses_tools_there_and_back(llmock: LLMock, stub: Any, provider: str, streamed: bool) -> None:
    tools = [{"type": "function", **WEATHER}]
    [call] = await ask_responses(stub, provider, streamed, input=[QUESTION], tools=tools)
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    assert "city" in json.loads(call["arguments"])
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "21C"}
    [message] = await ask_responses(stub, provider, streamed, input=[QUESTION, call, result], tools=tools)
    assert message["content"][0]["text"]
