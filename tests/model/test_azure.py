"""Azure OpenAI: where its paths are, how it is given its key, and what its filters say."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.upstreams.scripted import ScriptedUpstream, answer, sse, stream
from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunk
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import UpstreamRejected
from trivet.model_service.adapters.azure import azure_paths
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.domain.turn import Message, Text, TextDelta, TurnFinished, TurnRequest
from trivet.model_service.providers import open_provider
from trivet.model_service.settings import ProviderSettings

ASKED = TurnRequest("gpt-lab", (Message("user", (Text("hi"),)),))
FILTERED = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": True, "severity": "high"}}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


def opened(upstream: ScriptedUpstream, stack: AsyncExitStack, type_: str = "openai-chat", **more: Any) -> Any:
    told = {"base_url": f"http://127.0.0.1:{upstream.port}", "api_key": "azure-key-1", "flavor": "azure", **more}
    return open_provider(ProviderSettings.model_validate({"name": "az", "type": type_, **told}), stack).dialect


@pytest.mark.parametrize(
    ("base_url", "version", "path", "found"),
    [
        ("https://n.openai.azure.com", None, "chat/completions", "openai/v1/chat/completions"),
        ("https://n.openai.azure.com/openai", None, "embeddings", "openai/v1/embeddings".removeprefix("openai/")),
        ("https://n.openai.azure.com/openai/v1", None, "responses", "responses"),
        ("https://n.openai.azure.com/openai/v1", "preview", "responses", "responses?api-version=preview"),
        (
            "https://n.openai.azure.com",
            "2024-10-21",
            "chat/completions",
            "openai/deployments/m%2F1/chat/completions?api-version=2024-10-21",
        ),
        ("https://n.openai.azure.com/openai/", "2024-10-21", "embeddings", "deployments/m%2F1/embeddings?api-version=2024-10-21"),
        (
            "https://n.openai.azure.com",
            "2024-10-21",
            "audio/transcriptions",
            "openai/deployments/m%2F1/audio/transcriptions?api-version=2024-10-21",
        ),
        ("https://n.openai.azure.com", "v", "responses/input_tokens", "openai/responses/input_tokens?api-version=v"),
        ("https://n.openai.azure.com", "v", "models", "openai/models?api-version=v"),
        ("https://n.openai.azure.com/openai/deployments/d", "v", "embeddings", "embeddings?api-version=v"),
    ],
)
def test_every_path_is_found_by_one_rule(base_url: str, version: str | None, path: str, found: str) -> None:
    assert azure_paths(base_url, version)(path, "m/1") == found


async def test_a_deployment_is_asked_with_the_key_in_its_header(upstream: ScriptedUpstream, stack: AsyncExitStack) -> None:
    dialect: OpenAIChat = opened(upstream, stack, api_version="2024-10-21")
    upstream.play(answer({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}))
    events = [event async for batch in dialect.turn(ASKED) for event in batch]

    [request] = upstream.requests
    assert TextDelta("yes") in events
    assert request.path == "/openai/deployments/gpt-lab/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "azure-key-1"
    assert "authorization" not in request.headers


async def test_responses_and_lists_have_no_deployment_in_their_paths(upstream: ScriptedUpstream, stack: AsyncExitStack) -> None:
    dialect: OpenAIResponses = opened(upstream, stack, "openai-responses", api_version="2025-04-01-preview")
    upstream.play(answer({"id": "r", "status": "completed", "output": []}))
    upstream.play(answer({"data": [{"id": "gpt-lab"}]}))
    _ = [event async for batch in dialect.turn(ASKED) for event in batch]
    await dialect.list_models()
    newer: OpenAIResponses = opened(upstream, stack, "openai-responses")
    upstream.play(answer({"data": []}))
    await newer.list_models()

    assert [request.path for request in upstream.requests] == [
        "/openai/responses?api-version=2025-04-01-preview",
        "/openai/models?api-version=2025-04-01-preview",
        "/openai/v1/models",
    ]


async def test_what_the_filter_says_of_the_prompt_does_not_break_a_stream(
    upstream: ScriptedUpstream, stack: AsyncExitStack
) -> None:
    verdict = {"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    said = {"id": "c1", "choices": [{"index": 0, "delta": {"content": "yes"}, "content_filter_results": {}}]}
    cut = {
        "id": "c1",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter", "content_filter_results": FILTERED}],
    }
    dialect: OpenAIChat = opened(upstream, stack)
    upstream.play(stream(sse(verdict, said, cut)))
    upstream.play(stream(sse(verdict, said, cut)))
    request = codec_for(CreateChatCompletionRequest).decode({"model": "az/m", "messages": [{"role": "user", "content": "hi"}]})

    batches = [batch async for batch in dialect.stream_chat_completion(request, "m")]
    turn = TurnRequest("m", ASKED.conversation, stream=True)
    events = [event async for batch in dialect.turn(turn) for event in batch]

    chunks = [json.loads(codec_for(ChatCompletionChunk).dumps(chunk)) for batch in batches for chunk in batch.chunks]
    assert [len(chunk["choices"]) for chunk in chunks] == [0, 1, 1]
    assert chunks[0]["prompt_filter_results"] == [{"prompt_index": 0}]
    assert chunks[2]["choices"][0]["finish_reason"] == "content_filter"
    assert chunks[2]["choices"][0]["content_filter_results"] == FILTERED
    assert TextDelta("yes") in events
    assert events[-1] == TurnFinished("content_filter")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_prompt_that_the_filter_refuses_is_the_callers_mistake(
    upstream: ScriptedUpstream, stack: AsyncExitStack, streamed: bool
) -> None:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": FILTERED}
    error = {
        "message": "The prompt was filtered.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "innererror": inner,
    }
    dialect: OpenAIChat = opened(upstream, stack)
    upstream.play(stream(sse({"error": error})) if streamed else answer({"error": {**error, "status": 400}}, status=400))

    with pytest.raises(UpstreamRejected) as refused:
        _ = [batch async for batch in dialect.turn(TurnRequest("m", ASKED.conversation, stream=streamed))]

    assert refused.value.message == "The prompt was filtered."
    assert refused.value.metadata["http_status"] == "400"
    assert refused.value.metadata["code"] == "content_filter"
