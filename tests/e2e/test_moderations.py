"""`/moderations`: OpenAI's SDK as a client, verdicts of OpenAI's form and of what looks like it."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.e2e.retrieval_rig import retrieval
from tests.e2e.rig import KEY, Rig
from tests.e2e.sdk import sdk
from tests.upstreams.scripted import answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODERATIONS = "/v1/moderations"
CATEGORIES = [
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm"),
    *("self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
]
VERDICT = {
    "flagged": True,
    "categories": dict.fromkeys(CATEGORIES, False) | {"violence": True, "category of tomorrow": True},
    "category_scores": dict.fromkeys(CATEGORIES, 0.25) | {"category of tomorrow": 1},
    "category_applied_input_types": {category: ["text"] for category in CATEGORIES},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[Rig]:
    async with retrieval() as rig:
        yield rig


@pytest.fixture
def rig(opened: Rig) -> Rig:
    opened.upstream.forget()
    return opened


@pytest_asyncio.fixture(loop_scope="module")
async def client(rig: Rig) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"http://{rig.gateway.http}/v1", KEY) as opened:
        yield opened


def judged(*verdicts: Any, **more: Any) -> bytes:
    return answer({"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": verdicts, **more})


@pytest.mark.parametrize("model", ["oai/omni-moderation-latest", None])
async def test_the_sdk_gets_a_verdict_with_a_model_or_without(rig: Rig, client: openai.AsyncOpenAI, model: str | None) -> None:
    rig.upstream.play(judged(VERDICT, usage={"total_tokens": 3}))

    told = await client.moderations.create(input="I'll get you 🔪", model=model or openai.omit)

    assert (told.id, told.model) == ("modr-1", "oai/omni-moderation-latest")
    assert told.model_extra == {"usage": {"total_tokens": 3}}
    (verdict,) = told.results
    assert verdict.flagged
    assert verdict.model_dump(by_alias=True, exclude_unset=True) == VERDICT
    assert rig.upstream.requests[0].path == "/v1/moderations"
    assert rig.upstream.requests[0].body == {"model": "omni-moderation-latest", "input": "I'll get you 🔪"}


async def test_texts_are_judged_one_by_one_and_parts_together(rig: Rig, client: openai.AsyncOpenAI) -> None:
    parts: Any = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "part of tomorrow", "x": 1},
    ]
    rig.upstream.play(judged(VERDICT, VERDICT))
    rig.upstream.play(judged(VERDICT))

    assert len((await client.moderations.create(input=["a", "b"], model="oai/m")).results) == 2
    assert len((await client.moderations.create(input=parts, model="oai/m", extra_body={"lang": "en"})).results) == 1

    assert rig.upstream.requests[0].body["input"] == ["a", "b"]
    assert rig.upstream.requests[1].body == {"model": "m", "input": parts, "lang": "en"}


async def test_what_a_verdict_leaves_out_is_told(rig: Rig) -> None:
    rig.upstream.play(judged({"categories": {"pii": True, "law": None}, "category_scores": {"pii": 0.9, "law": None}}))

    _, told = await rig.post(MODERATIONS, {"input": "x", "model": "lab/mistral-moderation"})

    assert told["results"] == [{"flagged": True, "categories": {"pii": True}, "category_scores": {"pii": 0.9}}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": 1}, "input"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": ["a", {"type": "text", "text": "b"}]}, "input[1]"),
        ({"input": [{"type": "text", "text": "b"}, "a"]}, "input[1]"),
        ({"input": [{"text": "b"}]}, "input[0].type"),
        ({"input": [{"type": "image_url"}]}, "input[0].image_url"),
        ({"input": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/x"}}]}, "input[0].image_url.url"),
        ({"input": "a", "model": ""}, "model"),
        ({"input": "a", "model": "co/m"}, "model"),
        ({"input": "a", "model": "local/smollm2"}, "model"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_request_that_cannot_be_is_refused_by_name(rig: Rig, body: dict[str, Any], param: str) -> None:
    status, failed = await rig.post(MODERATIONS, {"model": "oai/m", **body})

    assert (status, failed["error"]["param"]) == (400, param)
    assert rig.upstream.requests == []


@pytest.mark.parametrize(
    "said",
    [
        answer({}),
        answer({"results": VERDICT}),
        judged(1),
        judged(),
        judged(VERDICT, VERDICT),
        judged(VERDICT | {"categories": {"hate": "no"}}),
        judged(VERDICT | {"categories": []}),
        judged(VERDICT | {"category_scores": {"hate": "high"}}),
        judged(VERDICT | {"flagged": "yes"}),
        answer({"error": {"message": "down"}}),
    ],
)
async def test_an_answer_that_is_none_is_the_providers_fault(rig: Rig, said: bytes) -> None:
    rig.upstream.play(said)

    status, failed = await rig.post(MODERATIONS, {"input": "a", "model": "oai/m"})

    assert (status, failed["error"]["code"]) == (502, "upstream_failed")


async def test_a_server_without_moderation_says_so(rig: Rig) -> None:
    rig.upstream.play(answer({"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}, status=404))

    status, failed = await rig.post(MODERATIONS, {"input": "a", "model": "lab/m"})

    assert (status, failed["error"]["code"]) == (400, "unsupported_parameter")
    assert failed["error"]["message"] == "This model's provider has no moderation."
