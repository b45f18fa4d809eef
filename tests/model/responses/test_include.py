"""Encrypted reasoning: asked for to go on from, shown to who asks for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.model.responses.turning import asking, item, managed
from tests.model.responses_events import MESSAGE, REASONING, completed, event, message, numbered, reasoning, snapshot
from tests.upstreams.scripted import ScriptedUpstream, answer, sse, stream
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import UnsupportedParameter, UpstreamRejected
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_stored_pb2 import ItemPage
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.responses.include import REASONING as ENCRYPTED
from trivet.model_service.responses.include import Shown, check_include
from trivet.model_service.responses.turns.managed_turns import ManagedTurns

NO_REASONING = {
    "error": {
        "message": "Encrypted content is not supported with this model.",
        "type": "invalid_request_error",
        "param": "include",
        "code": None,
    }
}


def made() -> Response:
    """A response with a thought and a message."""
    return Response(id="resp_1", output=[item(**REASONING), item(**MESSAGE)])


def encrypted(items: Any) -> list[str]:
    return [one.reasoning.encrypted_content for one in items if one.HasField("reasoning")]


def test_a_response_is_shown_with_it_to_who_asks() -> None:
    response = made()

    assert encrypted(Shown([ENCRYPTED]).response(response).output) == ["enc"]
    assert encrypted(Shown([]).response(response).output) == [""]
    assert encrypted(response.output) == ["enc"], "what is kept stays as it is"
    assert (
        "encrypted_content" not in codec_for(Response).dumps(Shown(["message.output_text.logprobs"]).response(response)).decode()
    )


def test_hiding_it_leaves_other_items_as_they_are() -> None:
    shown = Shown([]).response(made())

    assert [one.WhichOneof("kind") for one in shown.output] == ["reasoning", "message"]
    assert shown.output[1] == item(**MESSAGE)
    assert shown.output[0].reasoning.summary == item(**REASONING).reasoning.summary


@pytest.mark.parametrize("kind", ["output_item_added", "output_item_done"])
def test_events_of_items_are_shown_likewise(kind: str) -> None:
    events: list[ResponseEvent] = [
        codec_for(ResponseEvent).decode(event(kind.replace("item_", "item."), output_index=0, item=REASONING)),
        codec_for(ResponseEvent).decode(event("output_text.delta", item_id="m", output_index=1, content_index=0, delta="x")),
    ]
    batch = ResponseEventBatch(events=events)

    assert encrypted(getattr(one, kind).item for one in Shown([ENCRYPTED]).batch(batch).events[:1]) == ["enc"]
    shown = Shown([]).batch(batch)
    assert encrypted([getattr(shown.events[0], kind).item]) == [""]
    assert shown.events[1] == batch.events[1]
    assert encrypted([getattr(batch.events[0], kind).item]) == ["enc"]


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_events_with_the_whole_response_are_shown_likewise(kind: str) -> None:
    end = ResponseEvent()
    getattr(end, kind).response.CopyFrom(made())
    batch = ResponseEventBatch(events=[end])

    assert encrypted(getattr(Shown([ENCRYPTED]).batch(batch).events[0], kind).response.output) == ["enc"]
    assert encrypted(getattr(Shown([]).batch(batch).events[0], kind).response.output) == [""]


def test_items_and_pages_of_them_are_shown_likewise() -> None:
    page = ItemPage(data=made().output)

    assert encrypted([Shown([ENCRYPTED]).item(page.data[0])]) == ["enc"]
    assert encrypted([Shown([]).item(page.data[0])]) == [""]

    assert encrypted(Shown([ENCRYPTED]).page(page).data) == ["enc"]
    assert encrypted(Shown([]).page(page).data) == [""]


def test_nothing_is_copied_where_there_is_nothing_to_hide() -> None:
    response, page = Response(output=[item(**MESSAGE)]), ItemPage(data=[item(**MESSAGE)])
    batch = ResponseEventBatch(events=[ResponseEvent()])
    shown = Shown([])

    assert shown.response(response) is response
    assert shown.item(response.output[0]) is response.output[0]
    assert shown.page(page) is page
    assert shown.batch(batch) is batch


def test_names_that_the_contract_does_not_know_are_refused() -> None:
    check_include([ENCRYPTED, "message.output_text.logprobs"])

    with pytest.raises(UnsupportedParameter) as refused:
        check_include([ENCRYPTED, "everything"])

    assert refused.value.param == "include[1]"


# ---- towards a provider ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def over_responses() -> AsyncIterator[tuple[ScriptedUpstream, ManagedTurns]]:
    async with ScriptedUpstream() as upstream:
        dialect = OpenAIResponses(UpstreamHttp("lab", Endpoint(upstream.base_url)))
        try:
            yield upstream, managed(dialect)
        finally:
            await dialect.aclose()


def told(*, store: bool = True, **changes: Any) -> tuple[Any, Response]:
    request = asking(**changes)
    begun = begin(request, "lab")
    begun.store = store
    return request, begun


def whole_answer() -> bytes:
    return answer(completed(output=[REASONING, MESSAGE]))


def whole_stream() -> list[Any]:
    end = snapshot("completed", completed(output=[REASONING, MESSAGE]))
    return stream(sse(*numbered([snapshot("created"), snapshot("in_progress"), *reasoning(), *message(1), end]), done=False))


async def streamed(turns: ManagedTurns, *given: Any) -> list[ResponseEvent]:
    return [one async for batch in turns.stream(*given) for one in batch.events]


async def test_a_provider_that_keeps_nothing_is_asked_for_it_wherever_the_response_is_stored() -> None:
    async with over_responses() as (upstream, turns):
        upstream.play(whole_answer())
        upstream.play(whole_stream())

        response = await turns.create(*told())
        events = await streamed(turns, *told(include=["message.output_text.logprobs"]))

        assert upstream.requests[0].body["include"] == [ENCRYPTED]
        assert upstream.requests[1].body["include"] == ["message.output_text.logprobs", ENCRYPTED]
        assert encrypted(response.output) == ["enc"]
        assert encrypted(events[-1].completed.response.output) == ["enc"]


async def test_it_is_not_asked_for_where_nothing_is_stored() -> None:
    async with over_responses() as (upstream, turns):
        upstream.play(whole_answer())

        await turns.create(*told(store=False))

        assert "include" not in upstream.requests[0].body


async def test_a_model_without_reasoning_is_asked_without_it_from_then_on() -> None:
    async with over_responses() as (upstream, turns):
        for _ in range(2):
            upstream.play(answer(NO_REASONING, status=400))
            upstream.play(whole_answer())
        upstream.play(whole_answer())

        response = await turns.create(*told())
        await turns.create(*told(model="lab/other"))
        await turns.create(*told())

        assert response.status == "completed"
        asked = [(request.body["model"], request.body.get("include")) for request in upstream.requests]
        assert asked == [("m", [ENCRYPTED]), ("m", None), ("other", [ENCRYPTED]), ("other", None), ("m", None)]


async def test_the_same_holds_for_a_stream() -> None:
    async with over_responses() as (upstream, turns):
        upstream.play(answer(NO_REASONING, status=400))
        upstream.play(whole_stream())

        events = await streamed(turns, *told())

        assert events[-1].completed.response.status == "completed"
        assert [request.body.get("include") for request in upstream.requests] == [[ENCRYPTED], None]


@pytest.mark.parametrize("include", [None, [ENCRYPTED]])
async def test_other_refusals_stand(include: list[str] | None) -> None:
    refusal = {"error": {"message": "No such thing.", "param": "model", "code": "x"}} if include is None else NO_REASONING
    async with over_responses() as (upstream, turns):
        upstream.play(answer(refusal, status=400))
        upstream.play(answer(refusal, status=400))

        with pytest.raises(UpstreamRejected):
            await turns.create(*told(include=include))
        with pytest.raises(UpstreamRejected):
            await streamed(turns, *told(include=include))

        assert len(upstream.requests) == 2
