"""Stored responses over both transports: told again, gone on from, deleted, and nobody else's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.upstream_talk import heard, say
from tests.model.responses.kept import sqlite
from tests.model.responses.service import Caller, Json, over_dialect, over_upstream, refused, said, text_of
from tests.model.responses.turning import Turning, saying
from tests.model.responses_events import MESSAGE, REASONING, completed
from tests.upstreams.scripted import ScriptedUpstream, answer
from trivet.kernel.testing import TRANSPORTS, Transport
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.turn import TextRun, TurnFinished, TurnStarted

UNKNOWN = "resp_" + "0" * 48
ODD_IDS = ["", "'; DROP TABLE responses; --", "résp_ü", "resp_%", "x" * 5000, "\N{CJK UNIFIED IDEOGRAPH-4E2D}", "a/b?c"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    async with sqlite(tmp_path) as opened:
        yield opened


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


async def chain(caller: Caller, *inputs: str) -> list[str]:
    """The ids of responses that go on from each other."""
    ids: list[str] = []
    for text in inputs:
        more = {"previous_response_id": ids[-1]} if ids else {}
        ids.append((await caller.create(input=text, **more))["id"])
    return ids


# ---- told again --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_response_is_told_again_as_it_was_answered(transport: Transport, store: SqlStore) -> None:
    async with over_dialect(Turning(saying("One.")), store, transport) as (alice, _):
        given = await alice.create(metadata={"k": "v"}, instructions="Be brief.")

        assert (given["status"], given["store"], given["background"]) == ("completed", True, False)
        assert await alice.get(given["id"]) == given


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_streamed_response_is_told_again_and_replayed(transport: Transport, store: SqlStore) -> None:
    async with over_dialect(Turning(saying("One", " two", " three.")), store, transport) as (alice, _):
        events = await alice.stream()
        name = events[0]["response"]["id"]

        assert await alice.get(name) == events[-1]["response"]
        assert await alice.follow(name) == events
        assert await alice.follow(name, starting_after=4) == events[5:]


async def test_pieces_that_came_as_a_run_are_replayed_one_by_one(store: SqlStore) -> None:
    turn = [[TurnStarted()], [TextRun(["One", " two"]), TextRun([" three."])], [TurnFinished("stop")]]
    async with over_dialect(Turning(turn), store) as (alice, _):
        events = await alice.stream()
        name = events[0]["response"]["id"]

        replayed = [await alice.follow(name, starting_after=number) for number in range(len(events) - 1)]

    assert [event["delta"] for event in events if "delta" in event] == ["One", " two", " three."]
    assert replayed == [events[number + 1 :] for number in range(len(events) - 1)]


@pytest.mark.parametrize("provider", ["lab", "oai"])
async def test_ids_are_the_gateway_s_on_every_provider(provider: str, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    say(upstream, "One.", "Two.")
    async with over_upstream(upstream, tmp_path) as (alice, _):
        given = await alice.create(model=f"{provider}/m")
        events = await alice.stream(model=f"{provider}/m")

    names = {given["id"], *(event["response"]["id"] for event in events if "response" in event)}
    assert len(names) == 2
    assert all(len(name) == 53 and name.startswith("resp_") for name in names)


async def test_what_is_not_to_be_stored_is_not(store: SqlStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        given = await alice.create(store=False)
        events = await alice.stream(store=False)

        assert (given["store"], events[-1]["response"]["store"]) == (False, False)
        for name in (given["id"], events[0]["response"]["id"]):
            assert (await refused(alice.get(name))).reason == "RESPONSE_NOT_FOUND"


async def test_a_response_that_was_not_streamed_has_no_events(store: SqlStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        given = await alice.create()

        assert (await refused(alice.follow(given["id"]))).reason == "INVALID_REQUEST"


async def test_only_the_background_can_be_cancelled(store: SqlStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        given = await alice.create()

        assert (await refused(alice.ask("CancelResponse", response_id=given["id"]))).reason == "INVALID_REQUEST"


async def test_a_response_that_is_only_there_to_go_on_from_asks_no_model(store: SqlStore) -> None:
    turning = Turning(saying("One."))
    async with over_dialect(turning, store) as (alice, _):
        given = await alice.create(input="first", generate=False)
        events = await alice.stream(input="second", generate=False, previous_response_id=given["id"])
        assert turning.asked == []
        await alice.create(input="third", generate=True, previous_response_id=events[0]["response"]["id"])

    assert (given["status"], given["output"], given["usage"]["total_tokens"]) == ("completed", [], 0)
    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.completed"]
    assert turning.heard() == [("user", "first"), ("user", "second"), ("user", "third")]
    assert turning.asked[0].extra == {}


# ---- gone on from ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["lab", "oai"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_response_goes_on_from_all_before_it(
    provider: str, streamed: bool, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    say(upstream, "One.", "Two.", "Three.")
    async with over_upstream(upstream, tmp_path) as (alice, _):
        previous: dict[str, Any] = {"instructions": "Be brief."}
        for text in ("first", "second", "third"):
            body = {"model": f"{provider}/m", "input": text, **previous}
            given = (await alice.stream(**body))[-1]["response"] if streamed else await alice.create(**body)
            previous = {"previous_response_id": given["id"]}

    # Instructions are not carried over.
    assert heard(upstream.requests[-1].body) == [
        ("user", "first"), ("assistant", "One."), ("user", "second"), ("assistant", "Two."), ("user", "third"),
    ]  # fmt: skip
    sent = [request.body for request in upstream.requests]
    assert not any({"previous_response_id", "conversation", "background"} & body.keys() for body in sent)
    assert {body.get("store") for body in sent} == ({False} if provider == "oai" else {None})


@pytest.mark.parametrize(("summary", "read"), [([], None), ([{"type": "summary_text", "text": "Easy."}], "Easy.")])
async def test_a_chain_goes_on_with_a_model_that_cannot_read_its_reasoning(
    summary: list[Json], read: str | None, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.play(answer(completed(output=[REASONING | {"summary": summary}, MESSAGE])))
    say(upstream, "Two.")
    async with over_upstream(upstream, tmp_path) as (alice, _):
        given = await alice.create(model="oai/m", input="first")
        await alice.create(model="lab/m", input="second", previous_response_id=given["id"])

    messages = upstream.requests[-1].body["messages"]
    assert [message["content"] for message in messages] == ["first", "Hi there", "second"]
    assert messages[1].get("reasoning_content") == read


async def test_a_chain_stays_whole_when_its_middle_is_deleted(store: SqlStore) -> None:
    turning = Turning(saying("One."), saying("Two."), saying("Three."), saying("Four."))
    async with over_dialect(turning, store) as (alice, _):
        first, second, third = await chain(alice, "first", "second", "third")
        await alice.ask("DeleteResponse", response_id=second)
        await alice.ask("DeleteResponse", response_id=first)

        await alice.create(input="fourth", previous_response_id=third)
        listed = await alice.texts(third)

    texts = [text for _, text in turning.heard()]
    assert texts == ["first", "One.", "second", "Two.", "third", "Three.", "fourth"]
    assert listed == texts[:5]


async def test_two_may_go_on_from_one(store: SqlStore) -> None:
    turning = Turning(saying("One."), saying("Left."), saying("Right."))
    async with over_dialect(turning, store) as (alice, _):
        (first,) = await chain(alice, "first")
        await alice.create(input="left", previous_response_id=first)
        await alice.create(input="right", previous_response_id=first)

    assert [text for _, text in turning.heard()] == ["first", "One.", "right"]


# ---- gone, and nobody else's -------------------------------------------------------------------------------------------


async def everything_about(caller: Caller, name: str) -> list[str]:
    """The reasons for which everything is refused that one can ask of a response."""
    calls = [
        caller.get(name),
        caller.follow(name),
        caller.ask("DeleteResponse", response_id=name),
        caller.ask("CancelResponse", response_id=name),
        caller.ask("ListInputItems", response_id=name),
        caller.create(previous_response_id=name),
        caller.stream(previous_response_id=name),
        caller.ask("CountInputTokens", model="lab/m", previous_response_id=name),
        caller.ask("CompactResponse", model="lab/m", previous_response_id=name),
    ]
    return [(await refused(call)).reason for call in calls]


NOT_THERE = ["RESPONSE_NOT_FOUND"] * 5 + ["PREVIOUS_RESPONSE_NOT_FOUND"] * 4


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_belongs_to_another_key_is_not_there(transport: Transport, store: SqlStore) -> None:
    turning = Turning(saying("One."))
    async with over_dialect(turning, store, transport) as (alice, bob):
        given = (await alice.stream())[-1]["response"]

        assert await everything_about(bob, given["id"]) == NOT_THERE
        assert await alice.get(given["id"]) == given
    assert len(turning.asked) == 1


async def test_what_was_deleted_is_not_there(store: SqlStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        (name,) = await chain(alice, "first")

        assert await alice.ask("DeleteResponse", response_id=name) == {"id": name, "object": "response", "deleted": True}
        assert await everything_about(alice, name) == NOT_THERE


@pytest.mark.parametrize("name", [UNKNOWN, *ODD_IDS[1:]])
async def test_what_never_was_is_not_there(name: str, store: SqlStore) -> None:
    turning = Turning(saying("One."))
    async with over_dialect(turning, store) as (alice, _):
        (kept,) = await chain(alice, "first")

        assert await everything_about(alice, name) == NOT_THERE
        assert (await alice.get(kept))["id"] == kept


async def test_no_id_is_no_id_of_a_response(store: SqlStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        assert (await refused(alice.create(previous_response_id=""))).reason == "PREVIOUS_RESPONSE_NOT_FOUND"
        assert (await refused(alice.get(""))).reason == "INVALID_REQUEST"


async def test_what_a_response_was_made_from_is_shown_as_it_was_given(store: SqlStore) -> None:
    given = [
        said("Hello"),
        said("Hi", "assistant"),
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}", "id": "fc_mine"},
        {"type": "function_call_output", "call_id": "call_1", "output": "3"},
    ]
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        name = (await alice.create(input=given))["id"]
        page = await alice.ask("ListInputItems", response_id=name, order="asc")

    items = page["data"]
    assert [text_of(item) for item in items] == ["Hello", "Hi", "function_call", "function_call_output"]
    assert [part["type"] for item in items[:2] for part in item["content"]] == ["input_text", "output_text"]
    assert [item["id"].partition("_")[0] for item in items] == ["msg", "msg", "fc", "fco"]
    assert items[2]["id"] == "fc_mine"
    assert {item["status"] for item in items} == {"completed"}


async def test_what_nobody_can_include_is_named(store: SqlStore) -> None:
    turning = Turning(saying("One."))
    async with over_dialect(turning, store) as (alice, _):
        (name,) = await chain(alice, "first")
        include = ["reasoning.encrypted_content", "novel"]
        calls = [
            alice.create(include=include),
            alice.stream(include=include),
            alice.ask("GetResponse", response_id=name, include=include),
            alice.follow(name, include=include),
            alice.ask("ListInputItems", response_id=name, include=include),
        ]
        errors = [await refused(call) for call in calls]

    assert {(error.reason, error.param) for error in errors} == {("UNSUPPORTED_PARAMETER", "include[1]")}
    assert len(turning.asked) == 1


# ---- for the background ------------------------------------------------------------------------------------------------


MCP: Any = {"type": "mcp", "server_label": "a", "server_url": "https://a.example"}


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://127.0.0.1/a"}]}]}, ""),
        ({"tools": [MCP]}, "tools[0]"),
        ({"include": ["novel"]}, "include[0]"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_what_is_wrong_is_told_before_it_is_queued(
    asked: dict[str, Any], param: str, streamed: bool, store: SqlStore
) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        call = alice.stream if streamed else alice.create
        error = await refused(call(background=True, **asked))

    assert error.reason in {"UNSUPPORTED_PARAMETER", "ADDRESS_REFUSED"}
    assert error.param == param or not param
    assert await store.waiting("alice") == (0, 0)


@pytest.mark.parametrize("asked", [{}, {"truncation": "auto"}, {"store": False}, {"text": {"format": {"type": "json_object"}}}])
async def test_what_is_done_here_needs_no_provider_that_does_it(asked: dict[str, Any], store: SqlStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        given = await alice.create(background=True, **asked)

        assert (given["status"], given["background"], given["output"]) == ("queued", True, [])
        assert await alice.get(given["id"]) == given
    assert await store.waiting("alice") == (1, 1)
