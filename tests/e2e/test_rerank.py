"""`/rerank`: over Cohere, over servers of OpenAI's API that have it, and over those that have not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.retrieval_rig import retrieval
from tests.e2e.rig import Rig
from tests.upstreams.scripted import answer, response

pytestmark = pytest.mark.asyncio(loop_scope="module")

RERANK = "/v1/rerank"
DOCUMENTS = ["a stand", {"text": "a fish", "id": 7}, "три ноги 🐟"]
RESULTS = [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": 0.1}]
META = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}, "tokens": {"input_tokens": 12}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[Rig]:
    async with retrieval() as rig:
        yield rig


@pytest.fixture
def rig(opened: Rig) -> Rig:
    opened.upstream.forget()
    return opened


def asked(model: str = "co/rerank-v3.5", **more: Any) -> dict[str, Any]:
    return {"model": model, "query": "What is a trivet?", "documents": DOCUMENTS, **more}


def ranked(results: Any = RESULTS, **more: Any) -> bytes:
    return answer({"id": "r-1", "results": results, **more})


@pytest.mark.parametrize("path", ["/v1/rerank", "/api/llm/rerank", "/v1/v2/rerank", "/api/llm/v2/rerank"])
async def test_cohere_is_asked_in_its_second_version(rig: Rig, path: str) -> None:
    rig.upstream.play(ranked(meta=META))

    status, told = await rig.post(path, asked(top_n=3, max_tokens_per_doc=100, priority=5))

    assert (status, told) == (200, {"id": "r-1", "model": "co/rerank-v3.5", "results": RESULTS, "meta": META})
    (request,) = rig.upstream.requests
    assert (request.path, request.headers["authorization"]) == ("/v2/rerank", "Bearer co-secret-key")
    assert request.body == {
        "model": "rerank-v3.5",
        "query": "What is a trivet?",
        "documents": ["a stand", "a fish", "три ноги 🐟"],
        "top_n": 3,
        "max_tokens_per_doc": 100,
        "priority": 5,
    }


async def test_documents_are_repeated_with_the_keys_of_the_caller(rig: Rig) -> None:
    rig.upstream.play(ranked())

    _, told = await rig.post(RERANK, asked(return_documents=True))

    assert [result["document"] for result in told["results"]] == [
        {"text": "три ноги 🐟"},
        {"text": "a stand"},
        {"text": "a fish", "id": 7},
    ]
    assert told["meta"] == {}
    assert "return_documents" not in rig.upstream.requests[0].body


async def test_a_server_of_openais_api_is_asked_and_put_into_order(rig: Rig) -> None:
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    rig.upstream.play(answer({"results": RESULTS[::-1], "usage": usage}))

    status, told = await rig.post(RERANK, asked("lab/m", top_n=2))

    assert (status, told["results"]) == (200, RESULTS[:2])
    assert (told["meta"], told["id"][:7]) == ({"tokens": {"input_tokens": 6}}, "rerank_")
    assert rig.upstream.requests[0].path == "/v1/rerank"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": None}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a", 1]}, "documents[1]"),
        ({"documents": ["a", {"id": 1}]}, "documents[1].text"),
        ({"documents": ["a"] * 10001}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"return_documents": "yes"}, "return_documents"),
        ({"model": ""}, "model"),
        ({"model": "lab/m", "max_tokens_per_doc": 5}, "max_tokens_per_doc"),
        ({"model": "oai/m"}, "model"),
        ({"model": "local/smollm2"}, "model"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_request_that_cannot_be_is_refused_by_name(rig: Rig, change: dict[str, Any], param: str) -> None:
    status, failed = await rig.post(RERANK, asked(**change) if "model" not in change else {**asked(), **change})

    assert (status, failed["error"]["param"]) == (400, param)
    assert rig.upstream.requests == []


@pytest.mark.parametrize(
    "said",
    [answer({"detail": "Not Found"}, status=404), response(b"", status=405), answer({"error": {"message": "No."}}, status=501)],
)
async def test_a_server_without_reranking_is_told_from_one_without_the_model(rig: Rig, said: bytes) -> None:
    rig.upstream.play(said)
    rig.upstream.play(answer({"error": {"message": "The model `m` does not exist."}}, status=404))

    status, failed = await rig.post(RERANK, asked("lab/m"))
    assert (status, failed["error"]["code"]) == (400, "unsupported_parameter")

    status, failed = await rig.post(RERANK, asked("lab/m"))
    assert (status, failed["error"]["message"]) == (404, "The model `m` does not exist.")


@pytest.mark.parametrize(
    "said",
    [
        answer({}),
        answer({"results": {}}),
        ranked([1, 2, 3]),
        ranked([{"index": 0}, *RESULTS[:2]]),
        ranked([{"relevance_score": 1}, *RESULTS[:2]]),
        ranked([{"index": 3, "relevance_score": 1}, *RESULTS[:2]]),
        ranked([{"index": -1, "relevance_score": 1}, *RESULTS[:2]]),
        ranked([{"index": 0, "relevance_score": None}, *RESULTS[:2]]),
        ranked([RESULTS[0], *RESULTS[:2]]),
        ranked(RESULTS[:2]),
        ranked()[:-9].replace(b"Content-Length", b"X-Length"),
        answer({"error": "down"}),
    ],
)
async def test_an_answer_that_is_none_is_the_providers_fault(rig: Rig, said: bytes) -> None:
    rig.upstream.play(said, "close")

    status, failed = await rig.post(RERANK, asked())

    assert (status, failed["error"]["code"]) == (502, "upstream_failed")


async def test_the_errors_of_cohere_are_read(rig: Rig) -> None:
    rig.upstream.play(answer({"id": "x", "message": "too many documents for co-secret-key"}, status=400))
    rig.upstream.play(answer({"message": "slow down"}, status=429, headers={"Retry-After": "2"}))
    rig.upstream.play(answer({"message": "invalid api token"}, status=401))

    status, failed = await rig.post(RERANK, asked())
    assert (status, failed["error"]["message"]) == (400, "too many documents for [redacted]")

    async with rig.http.post(RERANK, json=asked()) as limited:
        assert (limited.status, limited.headers["Retry-After"]) == (429, "2")

    status, failed = await rig.post(RERANK, asked())
    assert (status, failed["error"]["message"]) == (502, "The provider `co` refused its credentials.")
