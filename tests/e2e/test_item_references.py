"""Inputs that refer to items of earlier responses by their ids alone, as clients that leave the keeping to the server do."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.e2e.answers import from_response
from tests.e2e.rig import gateway
from tests.e2e.runs import calling
from tests.e2e.sdk import sdk
from tests.e2e.shapes import Shape
from tests.e2e.upstream_talk import heard, say

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])

ADD: Any = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}, "strict": False}
WAYS = {"whole": {}, "streamed": {"stream": True}, "in the background": {"stream": True, "background": True}}


@pytest_asyncio.fixture(loop_scope="session")
async def client(one: Shape) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"{one.url}/v1") as opened:
        yield opened


async def answered(client: openai.AsyncOpenAI, **asked: Any) -> Any:
    """The response at its end, whether it was streamed or not."""
    given: Any = await client.responses.create(**asked)
    if not asked.get("stream"):
        return given
    return [event async for event in given][-1].response


def references(given: Any) -> list[Any]:
    """What a client that keeps nothing but ids has of an output."""
    return [{"type": "item_reference", "id": item.id} for item in given.output]


@of_each_dialect
@pytest.mark.parametrize("way", WAYS)
async def test_a_conversation_goes_on_from_references_alone(
    one: Shape, client: openai.AsyncOpenAI, dialect: str, way: str
) -> None:
    asked = {"model": f"{dialect}/m", "tools": [ADD], **WAYS[way]}
    say(one.upstream, calling(("add", {"a": 1})), "It is 3.", "You are welcome.")
    talk: list[Any] = [{"role": "user", "content": "1 + 2?"}]

    called = await answered(client, input=talk, **asked)
    (call,) = from_response(called).calls
    talk += [*references(called), {"type": "function_call_output", "call_id": call.id, "output": "3"}]
    said = await answered(client, input=talk, **asked)
    talk += [*references(said), {"role": "user", "content": "thanks"}]
    last = await answered(client, input=talk, **asked)

    whole = [("user", "1 + 2?"), ("call", 'add {"a": 1}'), ("result", "3"), ("assistant", "It is 3."), ("user", "thanks")]
    assert last.output_text == "You are welcome."
    assert [heard(request.body) for request in one.upstream.requests] == [whole[:1], whole[:3], whole]
    assert not any("item_reference" in str(request.body) for request in one.upstream.requests)


async def test_what_was_referred_to_is_listed_as_input(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "One.", "Two.")
    first = await client.responses.create(model="lab/m", input="first")

    given = await client.responses.create(model="lab/m", input=[*references(first), {"role": "user", "content": "go on"}])

    page = await client.responses.input_items.list(given.id, order="asc")
    assert [item.id for item in page.data][:1] == [first.output[0].id]
    assert [item.content[0].text for item in page.data] == ["One.", "go on"]  # type: ignore[union-attr]


async def test_input_and_items_of_conversations_may_be_referred_to(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "One.", "Two.")
    first = await client.responses.create(model="lab/m", input="first")
    (given,) = (await client.responses.input_items.list(first.id)).data
    message: Any = {"type": "message", "role": "user", "content": "second"}
    made = await client.conversations.create(items=[message])
    (kept,) = (await client.conversations.items.list(made.id)).data

    referred: Any = [{"id": given.id}, {"id": first.output[0].id}, {"id": kept.id}]
    await client.responses.create(model="lab/m", input=referred)

    assert heard(one.upstream.requests[-1].body) == [("user", "first"), ("assistant", "One."), ("user", "second")]


async def test_references_count_where_tokens_are_counted(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "One. " * 50)
    first = await client.responses.create(model="lab/m", input="first")

    counted = await client.responses.input_tokens.count(model="lab/m", input=references(first))

    assert counted.input_tokens > 50


async def test_what_is_not_there_is_named(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "One.", "Two.")
    deleted = await client.responses.create(model="lab/m", input="first")
    unstored = await client.responses.create(model="lab/m", input="second", store=False)
    await client.responses.delete(deleted.id)
    one.upstream.forget()

    for unknown in ([{"id": "msg_unknown"}], references(deleted), references(unstored)):
        referred: Any = [{"role": "user", "content": "go on"}, *unknown]
        for streamed in (False, True):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(model="lab/m", input=referred, stream=streamed)
            assert caught.value.param == "input[1]"
    assert one.upstream.requests == []


async def test_what_another_key_made_is_not_there() -> None:
    keys = {"mine": "sk-mine-0123456789", "theirs": "sk-theirs-0123456789"}
    auth = {"keys": [{"name": name, "key": key} for name, key in keys.items()]}
    async with gateway(auth=auth) as rig:
        url = f"http://{rig.gateway.http}/v1"
        say(rig.upstream, "One.", "Two.")
        async with sdk(url, keys["theirs"]) as theirs, sdk(url, keys["mine"]) as mine:
            given = await theirs.responses.create(model="lab/m", input="go")
            refused, said = await asyncio.gather(
                *(client.responses.create(model="lab/m", input=references(given)) for client in (mine, theirs)),
                return_exceptions=True,
            )

    assert isinstance(refused, openai.BadRequestError)
    assert refused.param == "input[0]"
    assert said.output_text == "Two."  # type: ignore[union-attr]
