"""Conversations with the official SDK: their items, and responses that are made in them, over either dialect."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.checkers.open_responses import check_items
from tests.e2e.answers import from_response
from tests.e2e.runs import calling
from tests.e2e.sdk import sdk
from tests.e2e.shapes import Shape
from tests.e2e.upstream_talk import heard, say

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])

ADD: Any = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}, "strict": False}
UNKNOWN = "conv_" + "0" * 48


@pytest_asyncio.fixture(loop_scope="session")
async def client(one: Shape) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"{one.url}/v1") as opened:
        yield opened


def message(text: str) -> Any:
    return {"type": "message", "role": "user", "content": text}


def texts(items: Any) -> list[str]:
    return [item.content[0].text for item in items]


# ---- conversations -----------------------------------------------------------------------------------------------------------


async def test_a_conversation_is_made_told_changed_and_deleted(client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create(metadata={"a": "b"}, items=[message("first")])

    told = await client.conversations.retrieve(made.id)
    changed = await client.conversations.update(made.id, metadata={"c": "d"})
    deleted = await client.conversations.delete(made.id)

    assert told == made
    assert made.to_dict().keys() >= {"id", "object", "created_at", "metadata"}
    assert (made.metadata, changed.metadata, changed.id) == ({"a": "b"}, {"c": "d"}, made.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "conversation.deleted")
    with pytest.raises(openai.NotFoundError):
        await client.conversations.retrieve(made.id)


async def test_items_come_page_by_page(client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create(items=[message("message 0")])
    added = await client.conversations.items.create(made.id, items=[message(f"message {number}") for number in range(1, 5)])

    listed = {
        order: [item async for item in client.conversations.items.list(made.id, limit=2, order=order)]
        for order in ("asc", "desc")
    }
    first = await client.conversations.items.list(made.id, limit=2)
    after = await client.conversations.items.list(made.id, after=listed["asc"][3].id, order="asc")

    assert texts(added.data) == [f"message {number}" for number in range(1, 5)]
    assert texts(listed["asc"]) == [f"message {number}" for number in range(5)]
    assert texts(listed["desc"]) == texts(listed["asc"])[::-1]
    assert (texts(first.data), first.has_more, first.last_id) == (["message 4", "message 3"], True, first.data[-1].id)
    assert texts(after.data) == ["message 4"]
    assert check_items([item.to_dict() for item in listed["asc"]]) == []


async def test_an_item_is_told_and_deleted(client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create(items=[message("first"), message("second")])
    items = [item async for item in client.conversations.items.list(made.id, order="asc")]
    first: Any = items[0]

    told: Any = await client.conversations.items.retrieve(first.id, conversation_id=made.id)
    left = await client.conversations.items.delete(first.id, conversation_id=made.id)

    assert told == first
    assert left == made
    assert texts([item async for item in client.conversations.items.list(made.id)]) == ["second"]
    for gone in (client.conversations.items.retrieve, client.conversations.items.delete):
        with pytest.raises(openai.NotFoundError):
            await gone(first.id, conversation_id=made.id)


async def test_what_nobody_made_is_not_found(one: Shape, client: openai.AsyncOpenAI) -> None:
    items = client.conversations.items
    asked = [
        client.conversations.retrieve(UNKNOWN),
        client.conversations.update(UNKNOWN, metadata={}),
        client.conversations.delete(UNKNOWN),
        items.create(UNKNOWN, items=[message("go")]),
        items.retrieve("msg_0", conversation_id=UNKNOWN),
        items.delete("msg_0", conversation_id=UNKNOWN),
        client.responses.create(model="lab/m", input="go", conversation=UNKNOWN),
        client.responses.create(model="lab/m", input="go", conversation=UNKNOWN, background=True),
        client.responses.create(model="lab/m", input="go", conversation=UNKNOWN, stream=True),
    ]

    for asking in asked:
        with pytest.raises(openai.NotFoundError):
            await asking
    with pytest.raises(openai.NotFoundError):
        await items.list(UNKNOWN)
    assert one.upstream.requests == []


@pytest.mark.parametrize("count", [21])
async def test_a_call_has_its_limit_of_items(client: openai.AsyncOpenAI, count: int) -> None:
    made = await client.conversations.create()

    with pytest.raises(openai.BadRequestError) as caught:
        await client.conversations.items.create(made.id, items=[message("again")] * count)
    assert caught.value.param == "items"


# ---- responses in them -------------------------------------------------------------------------------------------------------


@of_each_dialect
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
async def test_a_response_goes_on_from_all_that_was_said(
    one: Shape, client: openai.AsyncOpenAI, dialect: str, streamed: bool
) -> None:
    made = await client.conversations.create(items=[message("before")])
    say(one.upstream, "One.", "Two.")

    for asked in ("first", "second"):
        told: Any = {"model": f"{dialect}/m", "input": asked, "conversation": made.id}
        if streamed:
            async with client.responses.stream(**told) as events:
                given: Any = await events.get_final_response()
        else:
            given = await client.responses.create(**told)
        assert given.conversation is not None
        assert given.conversation.id == made.id

    assert heard(one.upstream.requests[-1].body) == [
        ("user", "before"), ("user", "first"), ("assistant", "One."), ("user", "second"),
    ]  # fmt: skip
    items = [item async for item in client.conversations.items.list(made.id, order="asc")]
    assert texts(items) == ["before", "first", "One.", "second", "Two."]
    assert check_items([item.to_dict() for item in items]) == []


async def test_a_function_goes_there_and_back(one: Shape, client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create()
    say(one.upstream, calling(("add", {"a": 1})), "It is 3.")

    called = await client.responses.create(model="lab/m", input="1 + 2?", conversation=made.id, tools=[ADD])
    (call,) = from_response(called).calls
    result: Any = {"type": "function_call_output", "call_id": call.id, "output": "3"}
    await client.responses.create(model="lab/m", input=[result], conversation={"id": made.id}, tools=[ADD])

    assert heard(one.upstream.requests[-1].body) == [("user", "1 + 2?"), ("call", 'add {"a": 1}'), ("result", "3")]
    items = [item async for item in client.conversations.items.list(made.id, order="asc")]
    assert [item.type for item in items] == ["message", "function_call", "function_call_output", "message"]


async def test_an_item_that_was_deleted_is_not_said(one: Shape, client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create(items=[message("one"), message("two")])
    items: list[Any] = [item async for item in client.conversations.items.list(made.id, order="asc")]
    await client.conversations.items.delete(items[0].id, conversation_id=made.id)
    say(one.upstream, "Hi.")

    await client.responses.create(model="lab/m", input="three", conversation=made.id)

    assert heard(one.upstream.requests[-1].body) == [("user", "two"), ("user", "three")]


async def test_a_conversation_and_a_response_to_go_on_from_exclude_each_other(one: Shape, client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create()
    say(one.upstream, "Hi.")
    first = await client.responses.create(model="lab/m", input="go")

    with pytest.raises(openai.BadRequestError):
        await client.responses.create(model="lab/m", input="go", conversation=made.id, previous_response_id=first.id)


async def test_a_response_in_the_background_is_said_in_its_conversation(one: Shape, client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create()
    say(one.upstream, "Done.")
    queued = await client.responses.create(model="lab/m", input="go", conversation=made.id, background=True)

    events = [event async for event in await client.responses.retrieve(queued.id, stream=True)]

    assert events[-1].type == "response.completed"
    assert texts([item async for item in client.conversations.items.list(made.id, order="asc")]) == ["go", "Done."]
