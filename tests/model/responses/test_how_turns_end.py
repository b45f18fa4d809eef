"""Turns that do not complete, over both dialects, whole and streamed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.model.chat_chunks import chunk
from tests.model.responses.turning import as_json, asking, managed
from tests.model.responses_events import MESSAGE, USAGE, message, numbered, response, snapshot
from tests.upstreams.scripted import CLOSE, ScriptedUpstream, answer, piece, sse, stream, stream_head
from trivet.kernel.codec.runs import without_runs
from trivet.kernel.errors import UpstreamFailed
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.faces.responses_echo import begin

CUT = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""What a response says of its end -> what a chat completion does."""


@asynccontextmanager
async def upstream_of(dialect: str) -> AsyncIterator[tuple[ScriptedUpstream, Any]]:
    async with ScriptedUpstream() as upstream:
        made = (OpenAIChat if dialect == "chat" else OpenAIResponses)(UpstreamHttp("lab", Endpoint(upstream.base_url)))
        try:
            yield upstream, managed(made)
        finally:
            await made.aclose()


def cut_whole(dialect: str, reason: str) -> bytes:
    if dialect == "chat":
        said = {"role": "assistant", "content": "Hi the"}
        return answer({"id": "c", "choices": [{"index": 0, "message": said, "finish_reason": CUT[reason]}]})
    return answer(cut_response(reason))


def cut_response(reason: str) -> dict[str, Any]:
    said = MESSAGE | {"status": "incomplete"}
    return response("incomplete", incomplete_details={"reason": reason}, output=[said], usage=USAGE)


def cut_stream(dialect: str, reason: str) -> list[Any]:
    if dialect == "chat":
        return stream(sse(chunk({"role": "assistant", "content": "Hi the"}), chunk({}, CUT[reason])))
    *begun, done = message(0)
    ended = [*begun, done | {"item": MESSAGE | {"status": "incomplete"}}, snapshot("incomplete", cut_response(reason))]
    return stream(sse(*numbered([snapshot("created"), snapshot("in_progress"), *ended]), done=False))


def broken_stream(dialect: str) -> list[Any]:
    """It ends in the middle of a message."""
    if dialect == "chat":
        said = sse(chunk({"role": "assistant", "content": "Hi"}), done=False)
    else:
        said = sse(*numbered([snapshot("created"), snapshot("in_progress"), *message(0)[:3]]), done=False)
    return [stream_head(), piece(said), CLOSE]


async def whole_of(turns: Any, **changes: Any) -> Response:
    request = asking(**changes)
    made: Response = await turns.create(request, begin(request, "lab"))
    return made


async def events_of(turns: Any) -> list[Any]:
    request = asking(max_output_tokens=3)
    return [event async for batch in turns.stream(request, begin(request, "lab")) for event in singles(batch)]


def singles(batch: ResponseEventBatch) -> list[ResponseEvent]:
    return list(without_runs(batch, "events").events)


@pytest.mark.parametrize("dialect", ["chat", "responses"])
@pytest.mark.parametrize("reason", CUT)
async def test_what_is_cut_short_is_incomplete_and_says_why(dialect: str, reason: str) -> None:
    async with upstream_of(dialect) as (upstream, turns):
        upstream.play(cut_whole(dialect, reason))
        upstream.play(cut_stream(dialect, reason))

        made = await whole_of(turns, max_output_tokens=3)
        events = await events_of(turns)

    for end in (made, events[-1].incomplete.response):
        assert (end.status, end.incomplete_details.reason) == ("incomplete", reason)
        assert not end.HasField("completed_at")
        assert end.output[-1].message.status == "incomplete"
        assert end.max_output_tokens == 3
    assert check_responses_stream(as_json(events)) == []


@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_an_upstream_that_breaks_off_fails_the_response(dialect: str) -> None:
    async with upstream_of(dialect) as (upstream, turns):
        upstream.play(broken_stream(dialect))

        events = await events_of(turns)

    assert check_responses_stream(as_json(events)) == []
    assert [event.WhichOneof("event") for event in events[-2:]] == ["error", "failed"]
    assert (events[-1].failed.response.status, events[-1].failed.response.error.code) == ("failed", "server_error")


@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_an_upstream_that_fails_before_it_says_anything_is_an_error(dialect: str) -> None:
    async with upstream_of(dialect) as (upstream, turns):
        upstream.play(answer({"error": {"message": "It broke."}}, status=500))
        upstream.play(answer({"error": {"message": "It broke."}}, status=500))

        with pytest.raises(UpstreamFailed):
            await whole_of(turns)
        with pytest.raises(UpstreamFailed):
            await events_of(turns)


async def test_a_response_that_failed_at_its_provider_is_told_as_failed_or_as_an_error() -> None:
    async with upstream_of("responses") as (upstream, turns):
        failed = response("failed", error={"code": "server_error", "message": "It broke."})
        upstream.play(
            stream(sse(*numbered([snapshot("created"), snapshot("in_progress"), snapshot("failed", failed)]), done=False))
        )

        events = await events_of(turns)

    assert check_responses_stream(as_json(events)) == []
    assert events[-1].failed.response.error.message == "It broke."


async def test_padding_may_be_asked_for_and_declined() -> None:
    """A chat provider has no word for it, and nothing is padded here."""
    async with upstream_of("chat") as (upstream, turns):
        for _ in range(2):
            upstream.play(cut_stream("chat", "content_filter"))
        for wanted in (True, False):
            request = asking(stream_options={"include_obfuscation": wanted})
            batches = turns.stream(request, begin(request, "lab"))
            events = [event async for batch in batches for event in singles(batch)]

            assert all("obfuscation" not in told for told in as_json(events))
        assert all("include_obfuscation" not in str(request.body) for request in upstream.requests)
