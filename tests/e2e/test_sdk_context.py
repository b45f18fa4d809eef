"""What a request brings to a model, with the official SDK: counted, compacted, with what `include` asks for."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.checkers.open_responses import check_compaction
from tests.e2e.answers import ANSWERS
from tests.e2e.sdk import sdk
from tests.e2e.shapes import Shape
from tests.e2e.upstream_talk import heard, say
from tests.model.responses_events import REASONING, USAGE, completed
from tests.upstreams.scripted import answer

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])

NOWHERE = answer({"error": {"message": "No such route."}}, status=404)
SUMMARY = "They said hello."


@pytest_asyncio.fixture(loop_scope="session")
async def client(one: Shape) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"{one.url}/v1") as opened:
        yield opened


# ---- counted -----------------------------------------------------------------------------------------------------------------


async def test_tokens_are_estimated_where_nobody_counts_them(one: Shape, client: openai.AsyncOpenAI) -> None:
    short = await client.responses.input_tokens.count(model="lab/m", input="Hello")
    long = await client.responses.input_tokens.count(model="lab/m", input="Hello " * 100, instructions="Be brief.")

    assert 0 < short.input_tokens < 20
    assert 100 <= long.input_tokens < 150
    assert short.to_dict()["estimated"] is True


async def test_tokens_are_those_that_the_provider_counts(one: Shape, client: openai.AsyncOpenAI) -> None:
    one.upstream.play(answer({"object": "response.input_tokens", "input_tokens": 11}))

    counted = await client.responses.input_tokens.count(model="oai/m", input="Hello")

    assert counted.input_tokens == 11
    assert "estimated" not in counted.to_dict()
    assert one.upstream.requests[0].path.endswith("/responses/input_tokens")


async def test_a_provider_that_counts_nothing_has_its_tokens_estimated(one: Shape, client: openai.AsyncOpenAI) -> None:
    one.upstream.play(NOWHERE)

    counted = await client.responses.input_tokens.count(model="oai/m", input="Hello")

    assert counted.to_dict()["estimated"] is True


@of_each_dialect
async def test_tokens_of_what_went_before_count(one: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    say(one.upstream, "word " * 200)
    first = await client.responses.create(model=f"{dialect}/m", input="first")
    one.upstream.play(NOWHERE)

    alone = await client.responses.input_tokens.count(model="lab/m", input="Hello")
    counted = await client.responses.input_tokens.count(model="lab/m", input="Hello", previous_response_id=first.id)

    assert counted.input_tokens > alone.input_tokens + 150


# ---- compacted ---------------------------------------------------------------------------------------------------------------


async def compacted(one: Shape, **asked: Any) -> list[Any]:
    """The output of a compaction, which is sound; as it was sent, because the types of the SDK know no messages of users in it."""
    async with sdk(f"{one.url}/v1", strict=False) as client:
        given = await client.responses.with_raw_response.compact(**asked)
    told = given.http_response.json()
    assert check_compaction(told) == []
    assert given.parse().output[-1].type == "compaction"
    output: list[Any] = told["output"]
    return output


@of_each_dialect
async def test_a_conversation_is_compacted_by_its_model(one: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    say(one.upstream, "Hello!")
    first = await client.responses.create(model=f"{dialect}/m", input="Hello")
    if dialect == "oai":
        one.upstream.play(NOWHERE)
    say(one.upstream, SUMMARY, "Yes.")

    output = await compacted(one, model=f"{dialect}/m", previous_response_id=first.id)
    given = await client.responses.create(model=f"{dialect}/m", input=[*output, {"role": "user", "content": "Sure?"}])

    assert [item["type"] for item in output] == ["message", "compaction"]
    assert given.output_text == "Yes."
    said = heard(one.upstream.requests[-1].body)
    assert (said[0], said[-1]) == (("user", "Hello"), ("user", "Sure?"))
    assert SUMMARY in said[1][1]


async def test_a_provider_compacts_by_itself(one: Shape, client: openai.AsyncOpenAI) -> None:
    user = {"type": "message", "id": "msg_1", "role": "user", "status": "completed"}
    output = [user | {"content": [{"type": "input_text", "text": "Hello"}]}, {"type": "compaction", "id": "cmp_1"}]
    output[1]["encrypted_content"] = "theirs"
    told = {"id": "resp_up", "object": "response.compaction", "created_at": 7, "output": output, "usage": USAGE}
    one.upstream.play(answer(told))
    say(one.upstream, "Yes.")

    given = await compacted(one, model="oai/m", input="Hello")
    await client.responses.create(model="oai/m", input=[*given, {"role": "user", "content": "Sure?"}])

    assert heard(one.upstream.requests[-1].body) == [("user", "Hello"), ("compaction", "theirs"), ("user", "Sure?")]


# ---- included ----------------------------------------------------------------------------------------------------------------


async def test_encrypted_reasoning_is_shown_to_those_who_ask(one: Shape, client: openai.AsyncOpenAI) -> None:
    one.upstream.play(answer(completed(output=[REASONING])))

    given = await client.responses.create(model="oai/m", input="go", include=["reasoning.encrypted_content"])
    again = await client.responses.retrieve(given.id, include=["reasoning.encrypted_content"])

    assert [item.to_dict()["encrypted_content"] for item in (given.output[0], again.output[0])] == ["enc", "enc"]
    assert "reasoning.encrypted_content" in one.upstream.requests[0].body["include"]


async def test_encrypted_reasoning_is_gone_on_from_by_those_who_do_not(one: Shape, client: openai.AsyncOpenAI) -> None:
    one.upstream.play(answer(completed(output=[REASONING])))
    say(one.upstream, "Yes.")

    first = await client.responses.create(model="oai/m", input="go")
    again = await client.responses.retrieve(first.id)
    await client.responses.create(model="oai/m", input="Sure?", previous_response_id=first.id)

    assert ["encrypted_content" in item.to_dict() for item in (first.output[0], again.output[0])] == [False, False]
    assert heard(one.upstream.requests[-1].body) == [("user", "go"), ("reasoning", "enc"), ("user", "Sure?")]


@of_each_dialect
async def test_logprobs_are_kept(one: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    say(one.upstream, ANSWERS["logprobs"])
    include: Any = ["message.output_text.logprobs"]

    given = await client.responses.create(model=f"{dialect}/m", input="go", include=include)
    again: Any = await client.responses.retrieve(given.id, include=include)

    assert [token.token for token in again.output[0].content[0].logprobs] == ["Yes", "."]


async def test_what_nobody_knows_is_not_included(one: Shape, client: openai.AsyncOpenAI) -> None:
    include: Any = ["everything"]

    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="lab/m", input="go", include=include)
    assert caught.value.param == "include[0]"
