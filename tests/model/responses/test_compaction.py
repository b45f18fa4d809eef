"""A conversation made shorter: by the model itself, by a provider that does it, and before a turn that asks for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.model.responses.turning import (
    Turning,
    as_json,
    asking,
    assistant,
    call,
    events_of,
    item,
    managed,
    output,
    saying,
    user,
    whole,
)
from tests.model.responses_events import USAGE, completed
from tests.upstreams.scripted import ScriptedUpstream, answer
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import AddressRefused, InvalidRequest, UnsupportedParameter, UpstreamFailed, UpstreamRejected
from trivet.model.v1.response_context_pb2 import CompactedResponse
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.turn import ReasoningDelta, TextDelta, TurnEvent, TurnFinished, TurnStarted
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.responses.turns.compaction import compaction_of, open_compactions

TALK = [
    {"type": "message", "role": "developer", "content": "rules"},
    user("one"),
    assistant("first answer"),
    user("two"),
    call("c1"),
    output("c1", "result"),
]
TOO_LONG = UpstreamRejected("Too long.", 400, code="context_length_exceeded")


async def compacted(dialect: Any, **changes: Any) -> CompactedResponse:
    return await managed(dialect).compactor.compact(asking(**changes))


def as_input(given: CompactedResponse) -> list[dict[str, Any]]:
    return list(codec_for(CompactedResponse).encode(given)["output"])


# ---- POST /responses/compact -------------------------------------------------------------------------------------------


async def test_the_users_messages_stay_and_an_item_stands_for_the_rest() -> None:
    dialect = Turning(saying("They asked ", "two things."))

    made = codec_for(CompactedResponse).encode(await compacted(dialect, input=TALK))

    assert made["object"] == "response.compaction"
    assert made["id"].startswith("resp_")
    assert [one["type"] for one in made["output"]] == ["message", "message", "compaction"]
    assert [one["content"] for one in made["output"][:2]] == [
        [{"type": "input_text", "text": "one"}],
        [{"type": "input_text", "text": "two"}],
    ]
    assert [one["id"].split("_")[0] for one in made["output"]] == ["msg", "msg", "cmp"]
    assert made["usage"]["total_tokens"] == 15


async def test_the_model_is_asked_about_the_whole_conversation() -> None:
    dialect = Turning(saying("So."))
    tools = [{"type": "function", "name": "f"}, {"type": "web_search"}]

    await compacted(dialect, input=TALK, instructions="Mind the names.", tools=tools)

    asked = dialect.asked[0]
    assert [who for who, _ in dialect.heard()] == [
        "system",
        "developer",
        "user",
        "assistant",
        "user",
        "ToolCall",
        "ToolResult",
        "user",
    ]
    assert dialect.heard()[0] == ("system", "Mind the names.")
    assert "summarize" in dialect.heard()[-1][1]
    assert [tool.name for tool in asked.tools] == ["f"]  # type: ignore[union-attr]
    assert asked.tool_choice is not None
    assert asked.tool_choice.mode == "none"


async def test_what_comes_of_it_goes_on_as_the_summary_with_any_provider() -> None:
    given = as_input(await compacted(Turning(saying("Ünlike ☃ summary.")), input=TALK))
    chat = Turning(saying("good"))

    await whole(chat, asking(input=[*given, user("three")]))
    await events_of(chat, asking(input=[*given, user("three")]))
    async with over_responses() as (upstream, turns):
        upstream.play(answer(completed()))
        request = asking(input=[*given, user("three")])
        await turns.create(request, _told(request))

        for heard in (chat.heard(0), chat.heard(1)):
            assert [who for who, _ in heard] == ["user", "user", "user", "user"]
            assert "Ünlike ☃ summary." in heard[2][1]
        sent = upstream.requests[0].body["input"]
        assert [one["role"] for one in sent] == ["user"] * 4
        assert "Ünlike ☃ summary." in sent[2]["content"][0]["text"]


async def test_all_counts_are_there_though_the_provider_tells_none() -> None:
    untold: list[list[TurnEvent]] = [[TurnStarted(), TextDelta("So."), TurnFinished("stop")]]

    made = codec_for(CompactedResponse).encode(await compacted(Turning(untold), input=TALK))

    assert made["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }


async def test_a_text_is_a_conversation_too() -> None:
    made = await compacted(Turning(saying("Greeted.")), input="hello")

    assert [one.WhichOneof("kind") for one in made.output] == ["message", "compaction"]
    assert made.output[0].message.content.parts.parts[0].input_text.text == "hello"


async def test_what_was_compacted_is_compacted_again() -> None:
    first = as_input(await compacted(Turning(saying("the early days")), input=TALK))
    dialect = Turning(saying("all of it"))

    again = await compacted(dialect, input=[*first, user("three"), assistant("third answer")])

    assert [one.WhichOneof("kind") for one in again.output] == ["message", "message", "message", "compaction"]
    assert "the early days" in dialect.heard()[2][1]


async def test_a_conversation_too_long_to_be_summarized_loses_its_oldest_items_first() -> None:
    dialect = Turning(TOO_LONG, saying("The rest."))

    made = await compacted(dialect, input=TALK)

    assert len(dialect.heard(1)) < len(dialect.heard(0))
    assert [one.WhichOneof("kind") for one in made.output] == ["message", "message", "compaction"]


async def test_a_model_that_says_nothing_is_a_failure() -> None:
    silent: list[list[TurnEvent]] = [[TurnStarted(), ReasoningDelta("hm"), TurnFinished("stop")]]

    with pytest.raises(UpstreamFailed):
        await compacted(Turning(silent), input=TALK)


async def test_an_empty_conversation_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        await compacted(Turning(saying("x")), input=[])

    assert refused.value.param == "input"


# ---- opening -----------------------------------------------------------------------------------------------------------


def test_what_an_item_of_ours_stands_for_is_left_out() -> None:
    """A compaction that was made in the middle of a conversation has all of it before itself."""
    items = [item(**one) for one in TALK]
    early, late = compaction_of("early"), compaction_of("late")

    opened = open_compactions([*items[:3], early, *items[3:], late, item(**user("three"))])

    assert [one.message.role for one in opened] == ["developer", "user", "user", "user", "user"]
    assert [one.message.content.text for one in opened[:3]] == ["rules", "one", "two"]
    assert opened[3].message.content.parts.parts[0].input_text.text.endswith("late")
    assert opened[4].message.content.text == "three"


def test_items_of_providers_are_left_to_them() -> None:
    items = [item(**user("one")), item(type="compaction", encrypted_content="gAAAA-theirs")]

    assert open_compactions(items) == items


@pytest.mark.parametrize("content", ["trivet-1.***", "trivet-1.a", "trivet-1._w=="])
async def test_a_damaged_item_is_refused_by_its_place(content: str) -> None:
    request = asking(input=[user("one"), {"type": "compaction", "encrypted_content": content}])

    with pytest.raises(InvalidRequest) as refused:
        await whole(Turning(saying("x")), request)
    with pytest.raises(InvalidRequest):
        await events_of(Turning(saying("x")), request)

    assert refused.value.param == "input[1].encrypted_content"


async def test_an_item_of_a_provider_is_nothing_for_another_one() -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        await whole(Turning(saying("x")), asking(input=[user("one"), {"type": "compaction", "encrypted_content": "theirs"}]))

    assert refused.value.param == "input[1]"


# ---- providers that do it ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def over_responses() -> AsyncIterator[tuple[ScriptedUpstream, Any]]:
    async with ScriptedUpstream() as upstream:
        dialect = OpenAIResponses(UpstreamHttp("lab", Endpoint(upstream.base_url)))
        try:
            yield upstream, managed(dialect)
        finally:
            await dialect.aclose()


def _told(request: Any) -> Any:
    return begin(request, "lab")


THEIRS = {
    "id": "resp_theirs",
    "object": "response.compaction",
    "created_at": 1700000000,
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_text", "text": "one"}],
        },
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA-theirs"},
    ],
    "usage": USAGE,
}


async def test_a_provider_that_compacts_is_asked_to() -> None:
    async with over_responses() as (upstream, turns):
        upstream.play(answer(THEIRS))

        made = await turns.compactor.compact(asking(input=TALK, instructions="Mind the names.", temperature=1, store=True))

        sent = upstream.requests[0]
        assert sent.path == "/v1/responses/compact"
        assert set(sent.body) == {"model", "input", "instructions"}
        assert (sent.body["model"], len(sent.body["input"])) == ("m", len(TALK))
        assert made.id.startswith("resp_")
        assert made.id != "resp_theirs"
        assert made.output[1].compaction.encrypted_content == "gAAAA-theirs"
        assert made.usage.total_tokens == 15


async def test_what_a_provider_compacted_goes_back_to_it_as_it_is() -> None:
    async with over_responses() as (upstream, turns):
        upstream.play(answer(completed()))
        request = asking(input=[*THEIRS["output"], user("two")])

        await turns.create(request, _told(request))

        assert upstream.requests[0].body["input"][1]["encrypted_content"] == "gAAAA-theirs"


async def test_a_provider_of_that_api_without_this_path_is_asked_for_a_summary() -> None:
    async with over_responses() as (upstream, turns):
        upstream.play(answer({"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}, status=404))
        upstream.play(answer(completed()))

        made = await turns.compactor.compact(asking(input=TALK))

        assert [request.path for request in upstream.requests] == ["/v1/responses/compact", "/v1/responses"]
        opened = open_compactions([made.output[-1]])[0].message.content.parts.parts[0].input_text.text
        assert opened.endswith("Hi there")


async def test_a_refusal_of_such_a_provider_stands() -> None:
    async with over_responses() as (upstream, turns):
        upstream.play(answer({"error": {"message": "No.", "param": "input", "code": "bad"}}, status=400))

        with pytest.raises(UpstreamRejected, match="No"):
            await turns.compactor.compact(asking(input=TALK))


async def test_urls_are_judged_before_they_are_handed_to_a_provider() -> None:
    async with over_responses() as (upstream, turns):
        image = {"type": "input_image", "image_url": "http://127.0.0.1:9/x.png"}

        with pytest.raises(AddressRefused):
            await turns.compactor.compact(asking(input=[{"type": "message", "role": "user", "content": [image]}]))

        assert upstream.requests == []


# ---- context_management ------------------------------------------------------------------------------------------------


def managing(threshold: int | None, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "compaction", "compact_threshold": threshold} | more]


LONG = [user("one"), assistant("blah " * 100), user("two")]


async def test_a_conversation_beyond_the_threshold_is_compacted_before_the_model_goes_on() -> None:
    request = asking(input=LONG, context_management=managing(50))
    dialect = Turning(saying("A summary."), saying("Good."))
    streaming = Turning(saying("A summary."), saying("Good."))

    response = await whole(dialect, request)
    events = await events_of(streaming, request)

    for asked in (dialect, streaming):
        assert len(asked.asked) == 2
        assert [who for who, _ in asked.heard()] == ["user", "user", "user"]
        assert asked.heard()[2][1].endswith("A summary.")
    assert [one.WhichOneof("kind") for one in response.output] == ["compaction", "message"]
    assert (response.status, response.usage.input_tokens, response.usage.total_tokens) == ("completed", 20, 30)
    assert check_responses_stream(as_json(events)) == []
    assert [event.WhichOneof("event") for event in events[:4]] == [
        "created",
        "in_progress",
        "output_item_added",
        "output_item_done",
    ]
    assert events[3].output_item_done.item.HasField("compaction")
    end = events[-1].completed.response
    assert [one.WhichOneof("kind") for one in end.output] == ["compaction", "message"]
    assert end.usage.total_tokens == 30


async def test_the_next_request_goes_on_from_the_compaction_in_its_history() -> None:
    response = await whole(Turning(saying("A summary."), saying("Good.")), asking(input=LONG, context_management=managing(50)))
    dialect = Turning(saying("Better."))
    history = [*LONG, *codec_for(type(response)).encode(response)["output"]]

    await whole(dialect, asking(input=[*history, user("three")], context_management=managing(50)))

    assert len(dialect.asked) == 1
    assert [who for who, _ in dialect.heard()] == ["user", "user", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("given", "threshold"),
    [(LONG, 1000), ([user("all of it " * 100), assistant("yes")], 50), ("a text " * 100, 50)],
    ids=["below it", "little would go", "nothing would go"],
)
async def test_there_is_no_compaction_without_a_gain(given: Any, threshold: int) -> None:
    dialect = Turning(saying("Good."))

    response = await whole(dialect, asking(input=given, context_management=managing(threshold)))
    events = await events_of(dialect, asking(input=given, context_management=managing(threshold)))

    assert [one.WhichOneof("kind") for one in response.output] == ["message"]
    assert [one.WhichOneof("kind") for one in events[-1].completed.response.output] == ["message"]
    assert len(dialect.asked) == 2


async def test_a_summary_that_fails_fails_the_response() -> None:
    request = asking(input=LONG, context_management=managing(50))
    broken = UpstreamFailed("It broke.")

    with pytest.raises(UpstreamFailed):
        await whole(Turning(broken), request)
    events = await events_of(Turning(broken), request)

    assert check_responses_stream(as_json(events)) == []
    assert [event.WhichOneof("event") for event in events] == ["created", "in_progress", "error", "failed"]


async def test_a_turn_that_fails_after_its_compaction_fails_the_response() -> None:
    events = await events_of(
        Turning(saying("A summary."), UpstreamFailed("It broke.")), asking(input=LONG, context_management=managing(50))
    )

    assert check_responses_stream(as_json(events)) == []
    failed = events[-1].failed.response
    assert (failed.status, [one.WhichOneof("kind") for one in failed.output]) == ("failed", ["compaction"])


@pytest.mark.parametrize(
    ("given", "error", "param"),
    [
        (managing(None), InvalidRequest, "context_management[0].compact_threshold"),
        ([{"type": "novel"}], UnsupportedParameter, "context_management[0].type"),
        (managing(5) + managing(6), UnsupportedParameter, "context_management[1]"),
    ],
)
async def test_what_cannot_be_done_is_refused(given: Any, error: type[InvalidRequest], param: str) -> None:
    with pytest.raises(error) as refused:
        await whole(Turning(saying("x")), asking(input=LONG, context_management=given))
    with pytest.raises(error):
        await events_of(Turning(saying("x")), asking(input=LONG, context_management=given))

    assert refused.value.param == param


async def test_a_provider_of_the_responses_api_is_asked_to_do_it_itself() -> None:
    async with over_responses() as (upstream, turns):
        upstream.play(answer(completed()))
        request = asking(input=LONG, context_management=managing(50))

        await turns.create(request, _told(request))

        assert upstream.requests[0].body["context_management"] == [{"type": "compaction", "compact_threshold": 50}]
