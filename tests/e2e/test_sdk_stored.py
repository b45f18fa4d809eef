"""Stored responses with the official SDK: told again, gone on with, listed, deleted, over either dialect."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from tests.checkers.open_responses import check_items
from tests.e2e.answers import ANSWERS, Answer, from_response
from tests.e2e.rig import gateway
from tests.e2e.runs import calling
from tests.e2e.sdk import sdk
from tests.e2e.shapes import Shape
from tests.e2e.upstream_talk import heard, say
from tests.standalone.compose import KEY

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])

ADD: Any = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}, "strict": False}
UNKNOWN = "resp_" + "0" * 48


class Weather(BaseModel):
    city: str
    sunny: bool


@pytest_asyncio.fixture(loop_scope="session")
async def client(one: Shape) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"{one.url}/v1") as opened:
        yield opened


# ---- told again --------------------------------------------------------------------------------------------------------------


@of_each_dialect
@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS)
async def test_a_response_is_told_again_as_it_was(one: Shape, client: openai.AsyncOpenAI, dialect: str, said: Answer) -> None:
    include: Any = ["message.output_text.logprobs"]
    say(one.upstream, said)

    given = await client.responses.create(model=f"{dialect}/m", input="go", metadata={"a": "b"}, include=include)
    again = await client.responses.retrieve(given.id, include=include)

    assert again.to_dict() == given.to_dict()
    assert from_response(again) == said.whole()


@of_each_dialect
async def test_a_streamed_response_is_told_again_as_it_was(one: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    say(one.upstream, ANSWERS["text and a call"])

    async with client.responses.stream(model=f"{dialect}/m", input="go", tools=[ADD]) as events:
        given = await events.get_final_response()
    again = await client.responses.retrieve(given.id)

    assert from_response(again) == from_response(given)
    assert (again.id, again.usage, again.status) == (given.id, given.usage, "completed")


@of_each_dialect
async def test_the_events_of_a_streamed_response_are_replayed(one: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    say(one.upstream, ANSWERS["reasoning"])
    told = [event.to_dict() async for event in await client.responses.create(model=f"{dialect}/m", input="go", stream=True)]
    response_id: Any = told[0]["response"]["id"]  # type: ignore[index]

    whole = [event.to_dict() async for event in await client.responses.retrieve(response_id, stream=True)]
    rest = [event.to_dict() async for event in await client.responses.retrieve(response_id, stream=True, starting_after=4)]

    assert whole == told
    assert rest == told[5:]


async def test_a_response_that_was_not_streamed_has_no_events(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "Hi")
    given = await client.responses.create(model="lab/m", input="go")

    with pytest.raises(openai.BadRequestError):
        await client.responses.retrieve(given.id, stream=True)


async def test_the_sdk_takes_a_stream_up_again_by_itself(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, ANSWERS["text"])
    async with client.responses.stream(model="lab/m", input="go") as events:
        given = await events.get_final_response()

    async with client.responses.stream(response_id=given.id, starting_after=3) as events:
        rest = [event.sequence_number async for event in events]
        again = await events.get_final_response()

    assert rest[0] == 4
    assert from_response(again) == from_response(given)


# ---- gone on with ------------------------------------------------------------------------------------------------------------


@of_each_dialect
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
async def test_the_whole_history_reaches_the_upstream(
    one: Shape, client: openai.AsyncOpenAI, dialect: str, streamed: bool
) -> None:
    say(one.upstream, "One.", "Two.", "Three.")
    previous: str | openai.Omit = openai.omit

    for asked in ("first", "second", "third"):
        kept: dict[str, Any] = {"model": f"{dialect}/m", "input": asked, "previous_response_id": previous}
        told = {"instructions": "Be brief."} if asked == "first" else {}
        if streamed:
            async with client.responses.stream(**kept, **told) as events:
                given: Any = await events.get_final_response()
        else:
            given = await client.responses.create(**kept, **told)
        assert given.previous_response_id == (previous or None)
        previous = given.id

    assert heard(one.upstream.requests[0].body)[1:] == [("user", "first")]
    # The instructions were those of the first response alone.
    assert heard(one.upstream.requests[-1].body) == [
        ("user", "first"), ("assistant", "One."), ("user", "second"), ("assistant", "Two."), ("user", "third"),
    ]  # fmt: skip
    kept_upstream = {key for request in one.upstream.requests for key in request.body} & {"previous_response_id", "conversation"}
    assert kept_upstream == set()


@of_each_dialect
async def test_the_output_of_a_function_goes_on_from_its_call(one: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    say(one.upstream, calling(("add", {"a": 1})), "It is 3.")
    called = await client.responses.create(model=f"{dialect}/m", input="1 + 2?", tools=[ADD])
    (call,) = from_response(called).calls

    given = await client.responses.create(
        model=f"{dialect}/m",
        previous_response_id=called.id,
        input=[{"type": "function_call_output", "call_id": call.id, "output": "3"}],
        tools=[ADD],
    )

    assert given.output_text == "It is 3."
    assert heard(one.upstream.requests[-1].body) == [("user", "1 + 2?"), ("call", 'add {"a": 1}'), ("result", "3")]


async def test_two_responses_go_on_from_one(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "One.", "Left.", "Right.")
    first = await client.responses.create(model="lab/m", input="first")

    await client.responses.create(model="lab/m", input="left", previous_response_id=first.id)
    await client.responses.create(model="lab/m", input="right", previous_response_id=first.id)

    assert heard(one.upstream.requests[-1].body) == [("user", "first"), ("assistant", "One."), ("user", "right")]


async def test_a_chain_goes_on_over_another_dialect(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, calling(("add", {"a": 1})))
    called = await client.responses.create(model="lab/m", input="1 + 2?", tools=[ADD])
    (call,) = from_response(called).calls
    say(one.upstream, "It is 3.")

    result: Any = {"type": "function_call_output", "call_id": call.id, "output": "3"}
    await client.responses.create(model="oai/m", previous_response_id=called.id, input=[result])

    assert heard(one.upstream.requests[-1].body) == [("user", "1 + 2?"), ("call", 'add {"a": 1}'), ("result", "3")]


async def test_an_item_of_before_may_be_referred_to(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "One.", "Two.")
    first = await client.responses.create(model="lab/m", input="first")
    assert first.output[0].id is not None
    referred: Any = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "go on"}]

    await client.responses.create(model="lab/m", input=referred, previous_response_id=first.id)

    assert heard(one.upstream.requests[-1].body) == [("user", "first"), ("assistant", "One."), ("user", "go on")]


async def test_a_parsed_response_goes_on_from_one(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "Hello.", '{"city": "Paris", "sunny": true}')
    first = await client.responses.create(model="lab/m", input="I am in Paris.")

    given = await client.responses.parse(
        model="lab/m", input="What is it like?", previous_response_id=first.id, text_format=Weather
    )

    assert given.output_parsed == Weather(city="Paris", sunny=True)
    assert len(heard(one.upstream.requests[-1].body)) == 3


# ---- listed ------------------------------------------------------------------------------------------------------------------


@of_each_dialect
async def test_input_items_come_page_by_page(one: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    say(one.upstream, "Hi")
    messages: Any = [{"role": "user", "content": f"message {number}"} for number in range(5)]
    given = await client.responses.create(model=f"{dialect}/m", input=messages)

    listed = {
        order: [item async for item in client.responses.input_items.list(given.id, limit=2, order=order)]
        for order in ("asc", "desc")
    }
    texts = {order: [item.content[0].text for item in items] for order, items in listed.items()}  # type: ignore[union-attr]
    page = await client.responses.input_items.list(given.id)
    after = await client.responses.input_items.list(given.id, after=listed["asc"][3].id, order="asc")

    assert texts["asc"] == [f"message {number}" for number in range(5)]
    assert texts["desc"] == texts["asc"][::-1]
    assert [item.id for item in page.data] == [item.id for item in listed["desc"]]
    assert (page.has_more, page.first_id, page.last_id) == (False, page.data[0].id, page.data[-1].id)
    assert [item.id for item in after.data] == [listed["asc"][4].id]
    assert check_items([item.to_dict() for item in page.data]) == []


async def test_input_items_are_those_that_went_before_too(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, calling(("add", {"a": 1})), "It is 3.")
    called = await client.responses.create(model="lab/m", input="1 + 2?", tools=[ADD])
    (call,) = from_response(called).calls
    result: Any = {"type": "function_call_output", "call_id": call.id, "output": "3"}
    given = await client.responses.create(model="lab/m", input=[result], previous_response_id=called.id)

    page = await client.responses.input_items.list(given.id, order="asc")

    assert [item.type for item in page.data] == ["message", "function_call", "function_call_output"]
    assert check_items([item.to_dict() for item in page.data]) == []


@pytest.mark.parametrize("limit", [0, 101])
async def test_a_page_has_its_limits(one: Shape, client: openai.AsyncOpenAI, limit: int) -> None:
    say(one.upstream, "Hi")
    given = await client.responses.create(model="lab/m", input="go")

    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.input_items.list(given.id, limit=limit)
    assert caught.value.param == "limit"


# ---- gone --------------------------------------------------------------------------------------------------------------------


async def asking(client: openai.AsyncOpenAI, response_id: str) -> list[Any]:
    """Everything that one can ask of a response, refused."""
    return await asyncio.gather(
        client.responses.retrieve(response_id),
        client.responses.retrieve(response_id, stream=True),
        client.responses.cancel(response_id),
        client.responses.delete(response_id),
        client.responses.input_items.list(response_id),
        client.responses.create(model="lab/m", input="go", previous_response_id=response_id),
        client.responses.create(model="lab/m", input="go", previous_response_id=response_id, stream=True),
        return_exceptions=True,
    )


async def test_what_nobody_stored_is_not_found(one: Shape, client: openai.AsyncOpenAI) -> None:
    found = await asking(client, UNKNOWN)

    assert [type(error) for error in found] == [openai.NotFoundError] * 7
    assert [error.code for error in found[5:]] == ["previous_response_not_found"] * 2
    assert [error.param for error in found[5:]] == ["previous_response_id"] * 2
    assert one.upstream.requests == []


async def test_what_was_not_to_be_stored_is_not_found(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "Hi")
    given = await client.responses.create(model="lab/m", input="go", store=False)
    say(one.upstream, ANSWERS["text"])
    async with client.responses.stream(model="lab/m", input="go", store=False) as events:
        streamed = await events.get_final_response()

    for response_id in (given.id, streamed.id):
        assert {type(error) for error in await asking(client, response_id)} == {openai.NotFoundError}


async def test_what_was_deleted_is_not_found(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "One.", "Two.")
    first = await client.responses.create(model="lab/m", input="first")
    second = await client.responses.create(model="lab/m", input="second", previous_response_id=first.id)

    await client.responses.delete(first.id)
    errors = await asking(client, first.id)
    say(one.upstream, "Three.")
    await client.responses.create(model="lab/m", input="third", previous_response_id=second.id)

    assert {type(error) for error in errors} == {openai.NotFoundError}
    # Who went on from it before goes on with all that was said.
    assert [text for _, text in heard(one.upstream.requests[-1].body)] == ["first", "One.", "second", "Two.", "third"]


async def test_only_what_runs_in_the_background_is_cancelled(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, "Hi")
    given = await client.responses.create(model="lab/m", input="go")

    with pytest.raises(openai.BadRequestError):
        await client.responses.cancel(given.id)


async def test_what_another_key_made_is_not_found() -> None:
    keys = {"mine": "sk-mine-0123456789", "theirs": "sk-theirs-0123456789"}
    auth = {"keys": [{"name": name, "key": key} for name, key in keys.items()]}
    async with gateway(auth=auth) as rig:
        url = f"http://{rig.gateway.http}/v1"
        say(rig.upstream, "Hi")
        async with sdk(url, keys["theirs"]) as theirs, sdk(url, keys["mine"]) as mine:
            given = await theirs.responses.create(model="lab/m", input="go")
            made = await theirs.conversations.create()
            found = await asking(mine, given.id)
            with pytest.raises(openai.NotFoundError):
                await mine.conversations.retrieve(made.id)
            with pytest.raises(openai.NotFoundError):
                await mine.responses.create(model="lab/m", input="go", conversation=made.id)
            again = await theirs.responses.retrieve(given.id)

    assert [type(error) for error in found] == [openai.NotFoundError] * 7
    assert again.output_text == "Hi"


async def test_a_wrong_key_is_told_nothing(one: Shape) -> None:
    async with sdk(f"{one.url}/v1", "sk-other") as client:
        found = await asking(client, UNKNOWN)

    assert {type(error) for error in found} == {openai.AuthenticationError}


async def test_the_other_client_of_the_sdk_does_the_same(one: Shape) -> None:
    say(one.upstream, "One.")
    say(one.upstream, ANSWERS["text"])

    def talk() -> None:
        with openai.OpenAI(base_url=f"{one.url}/v1", api_key=KEY, max_retries=0, _strict_response_validation=True) as client:
            first = client.responses.create(model="lab/m", input="first")
            with client.responses.stream(model="lab/m", input="second", previous_response_id=first.id) as events:
                second = events.get_final_response()
            assert client.responses.retrieve(second.id).output_text == "Hello, world."
            assert [item.type for item in client.responses.input_items.list(second.id, limit=1)] == ["message"] * 3
            assert [event.type for event in client.responses.retrieve(second.id, stream=True)][-1] == "response.completed"
            client.responses.delete(second.id)
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(second.id)

    await asyncio.to_thread(talk)
