"""Embeddings of the Gemini API over scripted bytes: what is sent, in pieces of what it takes, and what comes back."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.upstreams.scripted import Request, ScriptedUpstream, Step, answer
from trivet.kernel.codec import packed
from trivet.kernel.errors import RateLimited, ServiceError, UnsupportedParameter, UpstreamFailed
from trivet.model_service.domain.embeddings import Embedder, EmbeddingAnswer, EmbeddingRequest
from trivet.model_service.providers import open_provider
from trivet.model_service.settings import ProviderSettings

MODEL = "gemini-embedding-001"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def embedder(upstream: ScriptedUpstream) -> AsyncIterator[Embedder]:
    async with AsyncExitStack() as stack:
        yield opened(stack, upstream.base_url)


def opened(stack: AsyncExitStack, base_url: str) -> Embedder:
    settings = ProviderSettings.model_validate({"name": "g", "type": "gemini", "base_url": base_url, "api_key": "AIza-key"})
    embedder = open_provider(settings, stack).embedder
    assert embedder is not None
    return embedder


def embedded(*vectors: Any, **more: Any) -> bytes:
    return answer({"embeddings": [{"values": vector} for vector in vectors], **more})


def numbers(answered: EmbeddingAnswer) -> list[list[float]]:
    return [packed.numbers(vector) for vector in answered.vectors]


async def test_texts_are_embedded_in_one_call(upstream: ScriptedUpstream, embedder: Embedder) -> None:
    upstream.play(embedded([1.0, 0.5], [0.0, -1.0], usageMetadata={"promptTokenCount": 4}))
    asked = EmbeddingRequest(MODEL, ("a", "b"), dimensions=2, extra={"taskType": '"RETRIEVAL_QUERY"'})
    answered = await embedder.embed(asked)
    assert numbers(answered) == [[1.0, 0.5], [0.0, -1.0]]
    assert answered.tokens == 4
    [request] = upstream.requests
    assert request.path == f"/v1/models/{MODEL}:batchEmbedContents"
    assert request.headers["x-goog-api-key"] == "AIza-key"
    common = {"model": f"models/{MODEL}", "outputDimensionality": 2, "taskType": "RETRIEVAL_QUERY"}
    assert request.body == {"requests": [common | {"content": {"parts": [{"text": text}]}} for text in ("a", "b")]}


async def test_more_than_a_hundred_texts_go_in_several_calls(upstream: ScriptedUpstream, embedder: Embedder) -> None:
    def lengths(request: Request) -> list[Step]:
        return [embedded(*([len(one["content"]["parts"][0]["text"])] for one in request.body["requests"]))]

    upstream.reply(lengths)
    upstream.reply(lengths)
    answered = await embedder.embed(EmbeddingRequest(MODEL, tuple("x" * size for size in range(1, 151))))
    assert numbers(answered) == [[float(size)] for size in range(1, 151)]
    assert sorted(len(request.body["requests"]) for request in upstream.requests) == [50, 100]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (EmbeddingRequest(MODEL, ((1, 2),)), "input"),
        (EmbeddingRequest(MODEL, ("a",), user="u"), "user"),
        (EmbeddingRequest(MODEL, ("a",), extra={"outputDimensionality": "3"}), "outputDimensionality"),
        (EmbeddingRequest(MODEL, ("a",), extra={"content": "{}"}), "content"),
    ],
)
async def test_what_it_cannot_be_asked_for_is_named(
    upstream: ScriptedUpstream, embedder: Embedder, asked: EmbeddingRequest, param: str
) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        await embedder.embed(asked)
    assert caught.value.param == param
    assert upstream.requests == []


SLOW = {"error": {"code": 429, "message": "Slow.", "status": "RESOURCE_EXHAUSTED"}}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer({}), UpstreamFailed),
        (answer({"embeddings": [5]}), UpstreamFailed),
        (embedded(["x"]), UpstreamFailed),
        (embedded([1.0], [2.0]), UpstreamFailed),
        (answer(SLOW), RateLimited),
        (answer([SLOW], status=429), RateLimited),
    ],
)
async def test_an_answer_that_is_none_is_the_providers_fault(
    upstream: ScriptedUpstream, embedder: Embedder, said: bytes, kind: type[ServiceError]
) -> None:
    upstream.play(said)
    with pytest.raises(kind):
        await embedder.embed(EmbeddingRequest(MODEL, ("a",)))


async def test_vertex_ai_has_embeddings_of_another_form() -> None:
    base_url = "https://l-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google"
    settings = ProviderSettings.model_validate({"name": "g", "type": "gemini", "base_url": base_url})
    async with AsyncExitStack() as stack:
        assert open_provider(settings, stack).embedder is None
