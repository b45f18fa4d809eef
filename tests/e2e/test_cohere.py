"""Cohere as a provider: embeddings and models by its own API, chat by its form of OpenAI's."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.retrieval_rig import EMBEDDINGS, base64, retrieval
from tests.e2e.rig import Rig
from tests.model.chat_chunks import TEXT
from tests.upstreams.scripted import answer, sse, stream
from trivet.model_service.providers import open_provider
from trivet.model_service.settings import ProviderSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

VECTOR = [0.5, -0.25]
META = {"billed_units": {"input_tokens": 4}}
ASKED = {"model": "co/command-a", "messages": [{"role": "user", "content": "hi"}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[Rig]:
    async with retrieval() as rig:
        yield rig


@pytest.fixture
def rig(opened: Rig) -> Rig:
    opened.upstream.forget()
    return opened


def embedded(vectors: Any, **more: Any) -> bytes:
    return answer({"id": "e", "embeddings": vectors, "texts": [], **more})


async def test_texts_are_embedded_as_documents_by_its_own_api(rig: Rig) -> None:
    rig.upstream.play(embedded({"base64": [base64(*VECTOR), base64(1, 2)]}, meta=META))

    status, made = await rig.post(EMBEDDINGS, {"model": "co/embed-v4.0", "input": ["a", "b"], "dimensions": 2})

    assert status == 200
    assert [item["embedding"] for item in made["data"]] == [VECTOR, [1, 2]]
    assert made["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    (request,) = rig.upstream.requests
    assert (request.path, request.headers["authorization"]) == ("/v2/embed", "Bearer co-secret-key")
    assert request.body == {
        "model": "embed-v4.0",
        "texts": ["a", "b"],
        "embedding_types": ["base64"],
        "input_type": "search_document",
        "output_dimension": 2,
    }


async def test_queries_and_other_words_of_cohere_are_passed_on(rig: Rig) -> None:
    rig.upstream.play(embedded({"base64": [base64(*VECTOR)]}))
    words = {"input_type": "search_query", "truncate": "END", "embedding_types": ["float"]}

    status, made = await rig.post(EMBEDDINGS, {"model": "co/embed-v4.0", "input": "q", **words})

    assert (status, made["usage"]["total_tokens"]) == (200, 0)
    assert rig.upstream.requests[0].body == {
        "model": "embed-v4.0",
        "texts": ["q"],
        "embedding_types": ["base64"],
        "input_type": "search_query",
        "truncate": "END",
    }


async def test_no_call_has_more_texts_than_it_takes(rig: Rig) -> None:
    for _ in range(2):
        rig.upstream.reply(lambda request: [embedded({"base64": [base64(float(text)) for text in request.body["texts"]]})])

    _, made = await rig.post(EMBEDDINGS, {"model": "co/embed-v4.0", "input": [str(index) for index in range(100)]})

    assert [item["embedding"] for item in made["data"]] == [[index] for index in range(100)]
    assert sorted(len(request.body["texts"]) for request in rig.upstream.requests) == [4, 96]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": [1, 2]}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"user": "u"}, "user"),
        ({"embedding_types": ["int8"]}, "embedding_types"),
        ({"images": ["data:"]}, "images"),
        ({"output_dimension": 5}, "output_dimension"),
        ({"texts": ["b"]}, "texts"),
    ],
    ids=str,
)
async def test_what_cohere_cannot_be_asked_is_refused_by_name(rig: Rig, more: dict[str, Any], param: str) -> None:
    status, failed = await rig.post(EMBEDDINGS, {"model": "co/e", "input": "a", **more})

    assert (status, failed["error"]["param"], failed["error"]["code"]) == (400, param, "unsupported_parameter")
    assert rig.upstream.requests == []


@pytest.mark.parametrize(
    "said",
    [
        embedded([[1, 2]]),
        embedded({"float": [[1, 2]]}),
        embedded({"base64": {}}),
        embedded({"base64": [1]}),
        embedded({"base64": ["§"]}),
        embedded({"base64": []}),
    ],
)
async def test_an_answer_that_is_none_is_the_providers_fault(rig: Rig, said: bytes) -> None:
    rig.upstream.play(said)

    status, failed = await rig.post(EMBEDDINGS, {"model": "co/e", "input": "a"})

    assert (status, failed["error"]["code"]) == (502, "upstream_failed")


async def test_chat_goes_by_its_form_of_openais_api(rig: Rig) -> None:
    rig.upstream.play(stream(sse(*TEXT)))

    async with rig.http.post("/v1/chat/completions", json={**ASKED, "stream": True, "n": 1}) as streamed:
        assert streamed.status == 200
        assert b"[DONE]" in await streamed.read()

    (request,) = rig.upstream.requests
    assert request.path == "/compatibility/v1/chat/completions"
    assert (request.body["model"], request.headers["authorization"]) == ("command-a", "Bearer co-secret-key")
    assert "n" not in request.body


@pytest.mark.parametrize(
    "more",
    [
        {"logit_bias": {"5": 1}},
        {"n": 2},
        {"parallel_tool_calls": False},
        {"top_logprobs": 2, "logprobs": True},
        {"service_tier": "flex"},
        {"metadata": {"a": "b"}},
        {"store": True},
        {"prediction": {"type": "content", "content": "x"}},
    ],
    ids=str,
)
async def test_what_its_form_takes_no_notice_of_is_refused(rig: Rig, more: dict[str, Any]) -> None:
    status, failed = await rig.post("/v1/chat/completions", {**ASKED, **more})

    assert (status, failed["error"]["param"]) == (400, next(iter(more)))
    assert rig.upstream.requests == []


async def test_its_models_are_listed_by_its_own_api(rig: Rig) -> None:
    def script(request: Any) -> list[bytes]:
        if request.path.startswith("/v1/models?page_size"):
            return [answer({"models": [{"name": "command-a", "endpoints": ["chat"]}, {"name": 5}, 7]})]
        return [answer({"data": []})]

    for _ in range(5):
        rig.upstream.reply(script)

    async with rig.http.get("/v1/models") as listed:
        assert "co/command-a" in [model["id"] for model in (await listed.json())["data"]]


async def test_its_address_need_not_be_told() -> None:
    settings = ProviderSettings.model_validate({"name": "co", "type": "cohere", "api_key": "co-secret-key"})

    async with AsyncExitStack() as stack:
        assert open_provider(settings, stack).reranker is not None
