"""Embeddings, reranking and moderation over servers that others wrote: llama.cpp with a model of random weights, and llmock."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from llmock.testing import LLMockServer

from tests.e2e.rig import KEY, Rig, gateway
from tests.e2e.sdk import sdk
from tests.upstreams.llama import Llama, start_llama
from tests.upstreams.tiny_model import make_tiny_model
from trivet.kernel.codec.packed import from_base64, numbers

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENTS = ["stand", "fish", "Dreifuß"]


def provider(name: str, server: Llama, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "openai-chat", "base_url": server.base_url, "api_key": server.api_key, **more}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    tiny = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf")
    with LLMockServer() as mock, start_llama(tiny, pooling="MEAN") as vectors, start_llama(tiny, pooling="RANK") as ranks:
        providers = [
            provider("vectors", vectors),
            provider("pieces", vectors, embeddings={"max_batch": 1}),
            provider("ranks", ranks),
            {"name": "mock", "type": "openai-chat", "base_url": mock.base_url("openai"), "api_key": "sk-mock"},
        ]
        async with gateway(providers=providers) as opened:
            yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def client(rig: Rig) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"http://{rig.gateway.http}/v1", KEY, strict=False) as opened:
        yield opened


async def test_texts_and_their_tokens_have_the_same_vectors_in_either_form(client: openai.AsyncOpenAI) -> None:
    bytes_as_tokens = [[5 + byte for byte in text.encode()] for text in DOCUMENTS]

    by_default = await client.embeddings.create(model="vectors/tiny", input=DOCUMENTS)
    in_numbers = await client.embeddings.create(model="vectors/tiny", input=DOCUMENTS, encoding_format="float")
    of_tokens = await client.embeddings.create(model="vectors/tiny", input=bytes_as_tokens)
    in_pieces = await client.embeddings.create(model="pieces/tiny", input=DOCUMENTS)

    expected = [item.embedding for item in by_default.data]
    assert [len(vector) for vector in expected] == [64, 64, 64]
    assert [item.embedding for item in in_numbers.data] == expected
    assert [item.embedding for item in of_tokens.data] == [pytest.approx(vector, abs=1e-3) for vector in expected]
    assert [item.embedding for item in in_pieces.data] == [pytest.approx(vector, abs=1e-3) for vector in expected]
    assert by_default.usage.total_tokens == in_pieces.usage.total_tokens == sum(map(len, bytes_as_tokens))


async def test_numbers_are_taken_from_a_server_that_knows_no_base64(rig: Rig, client: openai.AsyncOpenAI) -> None:
    made = await client.embeddings.create(model="mock/text-embedding-3-small", input=["a", "ä"])
    asked = {"model": "mock/text-embedding-3-small", "input": ["a", "ä"], "encoding_format": "base64"}
    _, raw = await rig.post("/v1/embeddings", asked)

    assert [len(item.embedding) for item in made.data] == [1536, 1536]
    assert [numbers(from_base64(item["embedding"])) for item in raw["data"]] == [item.embedding for item in made.data]


async def test_dimensions_that_a_server_takes_no_notice_of_are_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="64 dimensions"):
        await client.embeddings.create(model="vectors/tiny", input="a", dimensions=32)


async def test_documents_are_ranked(rig: Rig) -> None:
    asked = {"model": "ranks/tiny", "query": "q", "documents": DOCUMENTS, "top_n": 2, "return_documents": True}

    status, told = await rig.post("/v1/rerank", asked)

    assert status == 200
    assert len(told["results"]) == 2
    assert all(result["document"] == {"text": DOCUMENTS[result["index"]]} for result in told["results"])
    assert told["results"][0]["relevance_score"] >= told["results"][1]["relevance_score"]
    assert told["meta"]["tokens"]["input_tokens"] > 0


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/rerank", {"model": "vectors/tiny", "query": "q", "documents": DOCUMENTS}),
        ("/v1/rerank", {"model": "mock/gpt-4o", "query": "q", "documents": DOCUMENTS}),
        ("/v1/moderations", {"model": "vectors/tiny", "input": "a"}),
        ("/v1/moderations", {"model": "mock/gpt-4o", "input": "a"}),
    ],
)
async def test_what_a_server_lacks_it_is_told_to_lack(rig: Rig, path: str, asked: dict[str, Any]) -> None:
    status, failed = await rig.post(path, asked)

    assert (status, failed["error"]["code"]) == (400, "unsupported_parameter")
