"""Responses in the background with the official SDK: polled, streamed, left and taken up again, cancelled, over either dialect."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai.types.responses import Response

from tests.checkers.open_responses import check_events, check_response
from tests.checkers.responses_stream import check_responses_stream
from tests.e2e.answers import ANSWERS, Answer, begun, from_response
from tests.e2e.frames import Json
from tests.e2e.sdk import sdk
from tests.e2e.shapes import Shape
from tests.e2e.upstream_talk import heard, say
from tests.upstreams.scripted import CLOSE, answer

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])

TEXT = ANSWERS["text"]


@pytest_asyncio.fixture(loop_scope="session")
async def client(shape: Shape) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"{shape.url}/v1") as opened:
        yield opened


def gated(dialect: str, said: Answer, gate: asyncio.Event) -> list[Any]:
    """A streamed answer of which all but the first events wait for the gate."""
    head, first, *rest = said.script(dialect, streamed=True)
    until = next(n for n, step in enumerate(rest) if b"Hello" in step) + 1
    return [head, first, *rest[:until], gate, *rest[until:]]


async def finished(client: openai.AsyncOpenAI, response_id: str) -> Response:
    """The response, polled until it is done."""
    async with asyncio.timeout(20):
        while (given := await client.responses.retrieve(response_id)).status in {"queued", "in_progress"}:
            pass
    return given


async def stored(shape: Shape, response_id: str) -> list[str]:
    """What is wrong with a response as it is on the wire, where numbers are as they were sent."""
    async with shape.http.get(f"/v1/responses/{response_id}") as answered:
        return check_response(await answered.json())


async def told(stream: Any) -> list[Json]:
    return [event.to_dict() async for event in stream]


@of_each_dialect
async def test_a_response_is_polled(shape: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    gate = asyncio.Event()
    shape.upstream.play(*gated(dialect, TEXT, gate))

    queued = await client.responses.create(model=f"{dialect}/m", input="go", background=True)
    await shape.upstream.until(lambda: bool(shape.upstream.requests))
    running = await client.responses.retrieve(queued.id)
    gate.set()
    given = await finished(client, queued.id)

    assert (queued.status, queued.output, queued.usage, queued.background) == ("queued", [], None, True)
    assert running.status == "in_progress"
    assert from_response(given) == TEXT.whole()
    assert (given.status, given.background, given.id) == ("completed", True, queued.id)
    assert given.usage is not None
    assert await stored(shape, given.id) == []
    assert {key for key in shape.upstream.requests[0].body if key in {"background", "previous_response_id"}} == set()


@of_each_dialect
async def test_a_stream_that_was_left_is_taken_up_where_it_was(shape: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    gate = asyncio.Event()
    shape.upstream.play(*gated(dialect, TEXT, gate))
    seen: list[Json] = []

    async with await client.responses.create(model=f"{dialect}/m", input="go", background=True, stream=True) as stream:
        async for event in stream:
            seen.append(event.to_dict())
            if event.type == "response.output_text.delta":
                break
    response_id: str = seen[0]["response"]["id"]
    last: int = seen[-1]["sequence_number"]
    following = [
        asyncio.create_task(told(await client.responses.retrieve(response_id, stream=True, starting_after=last)))
        for _ in range(3)
    ]
    whole = asyncio.create_task(told(await client.responses.retrieve(response_id, stream=True)))
    gate.set()

    rests, events = await asyncio.gather(*following), await whole
    assert [seen + rest for rest in rests] == [events] * 3
    assert check_responses_stream(events) == []
    async with shape.http.get(f"/v1/responses/{response_id}", params={"stream": "true"}) as answered:
        assert check_events(await answered.read()) == []
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert [event["response"]["status"] for event in events[:3]] == ["queued", "queued", "in_progress"]
    assert shape.upstream.abandoned == 0


async def test_the_sdk_s_own_stream_goes_on(shape: Shape, client: openai.AsyncOpenAI) -> None:
    gate = asyncio.Event()
    shape.upstream.play(*gated("lab", TEXT, gate))

    async with client.responses.stream(model="lab/m", input="go", background=True) as events:
        async for event in events:
            if event.type == "response.output_text.delta":
                last = event.sequence_number
                break
            if event.type == "response.created":
                response_id = event.response.id
    gate.set()
    async with client.responses.stream(response_id=response_id, starting_after=last) as events:
        rest = [event.sequence_number async for event in events]
        given = await events.get_final_response()

    assert rest[0] == last + 1
    assert rest == list(range(last + 1, last + 1 + len(rest)))
    assert from_response(given) == TEXT.whole()


async def test_a_response_without_a_reader_is_replayed(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, TEXT)
    queued = await client.responses.create(model="lab/m", input="go", background=True)

    events = await told(await client.responses.retrieve(queued.id, stream=True))

    assert check_responses_stream(events) == []
    assert events[-1]["response"] == (await client.responses.retrieve(queued.id)).to_dict()


@of_each_dialect
async def test_a_running_response_is_cancelled(shape: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    shape.upstream.play(*gated(dialect, TEXT, asyncio.Event()))
    queued = await client.responses.create(model=f"{dialect}/m", input="go", background=True)
    stream = await client.responses.retrieve(queued.id, stream=True)
    events: list[Json] = []
    async for event in stream:
        events.append(event.to_dict())
        if event.type == "response.output_text.delta":
            break

    cancelled = await client.responses.cancel(queued.id)
    again = await client.responses.cancel(queued.id)
    await shape.upstream.until(lambda: shape.upstream.abandoned == 1)
    events += await told(stream)

    assert (cancelled.status, again.status) == ("cancelled", "cancelled")
    assert (await client.responses.retrieve(queued.id)).status == "cancelled"
    assert check_responses_stream(events) == []
    assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.incomplete", "cancelled")
    assert await stored(shape, queued.id) == []


async def test_a_response_that_is_done_is_not_cancelled(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, TEXT)
    queued = await client.responses.create(model="lab/m", input="go", background=True)
    given = await finished(client, queued.id)

    cancelled = await client.responses.cancel(queued.id)

    assert cancelled.to_dict() == given.to_dict()


@of_each_dialect
async def test_an_upstream_that_refuses_makes_a_failed_response(shape: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    shape.upstream.play(answer({"error": {"message": "It told why."}}, status=400))
    queued = await client.responses.create(model=f"{dialect}/m", input="go", background=True)

    given = await finished(client, queued.id)

    assert given.status == "failed"
    assert given.error is not None
    assert "It told why." in given.error.message
    assert await stored(shape, given.id) == []


@of_each_dialect
async def test_an_upstream_that_breaks_makes_a_failed_response(shape: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    shape.upstream.play(*begun(dialect, CLOSE))
    queued = await client.responses.create(model=f"{dialect}/m", input="go", background=True)

    given = await finished(client, queued.id)

    assert given.status == "failed"
    assert given.error is not None
    assert await stored(shape, given.id) == []


async def test_what_is_wrong_with_a_request_is_told_at_once(shape: Shape, client: openai.AsyncOpenAI) -> None:
    asked: list[tuple[type[openai.APIStatusError], Json]] = [
        (openai.NotFoundError, {"model": "nobody/m"}),
        (openai.NotFoundError, {"model": "lab/m", "previous_response_id": "resp_0"}),
        (openai.BadRequestError, {"model": "lab/m", "temperature": 3}),
    ]

    for error, body in asked:
        with pytest.raises(error):
            await client.responses.create(input="go", background=True, **body)


async def test_a_chain_goes_on_in_the_background(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, "One.", "Two.")
    first = await client.responses.create(model="lab/m", input="first", background=True)
    await finished(client, first.id)
    second = await client.responses.create(model="lab/m", input="second", background=True, previous_response_id=first.id)

    given = await finished(client, second.id)

    assert (given.output_text, given.previous_response_id) == ("Two.", first.id)
    assert heard(shape.upstream.requests[-1].body) == [("user", "first"), ("assistant", "One."), ("user", "second")]


async def test_a_response_that_is_deleted_is_gone(shape: Shape, client: openai.AsyncOpenAI) -> None:
    shape.upstream.play(*gated("lab", TEXT, asyncio.Event()))
    queued = await client.responses.create(model="lab/m", input="go", background=True)
    await shape.upstream.until(lambda: bool(shape.upstream.requests))

    await client.responses.delete(queued.id)

    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(queued.id)
    await shape.upstream.until(lambda: shape.upstream.abandoned == 1)
