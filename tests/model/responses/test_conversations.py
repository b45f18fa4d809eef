"""Conversations: their RPCs, and responses that are made in them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.upstream_talk import say
from tests.model.responses.halting import Halting
from tests.model.responses.kept import sqlite
from tests.model.responses.service import Caller, over_dialect, over_upstream, refused, said, text_of
from tests.model.responses.turning import Turning, saying
from tests.model.responses.unsteady_store import UnsteadyStore
from tests.upstreams.scripted import ScriptedUpstream
from trivet.kernel.errors import Overloaded, UpstreamFailed
from trivet.kernel.testing import TRANSPORTS, Transport
from trivet.model_service.domain.turn import TextDelta, TurnFinished, TurnStarted

UNKNOWN = "conv_" + "0" * 48
ODD_IDS = ["'; DROP TABLE conversations; --", "conv_ü", "conv_%", "x" * 5000]
CUT_SHORT: Any = [[TurnStarted(), TextDelta("On"), TurnFinished("length")]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[UnsteadyStore]:
    async with sqlite(tmp_path) as opened:
        yield UnsteadyStore(opened)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


async def begun(caller: Caller, *texts: str) -> str:
    """The id of a conversation in which this was said."""
    items = [said(text) for text in texts]
    return str((await caller.ask("CreateConversation", items=items))["id"])


async def texts(caller: Caller, name: str) -> list[str]:
    page = await caller.ask("ListConversationItems", conversation_id=name, order="asc", limit=100)
    return [text_of(item) for item in page["data"]]


# ---- the RPCs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_conversation_is_made_told_changed_and_deleted(transport: Transport, store: UnsteadyStore) -> None:
    async with over_dialect(Turning(saying("One.")), store, transport) as (alice, _):
        made = await alice.ask("CreateConversation", metadata={"topic": "demo"})
        name = made["id"]
        told = {"object": "conversation", "metadata": {"topic": "demo"}, "created_at": made["created_at"], "id": name}
        assert made == told
        assert await alice.ask("GetConversation", conversation_id=name) == told
        changed = await alice.ask("UpdateConversation", conversation_id=name, metadata={"a": "b"})
        assert changed == told | {"metadata": {"a": "b"}}
        assert await alice.ask("GetConversation", conversation_id=name) == changed
        deleted = await alice.ask("DeleteConversation", conversation_id=name)
        assert deleted == {"id": name, "object": "conversation.deleted", "deleted": True}
        assert (await refused(alice.ask("GetConversation", conversation_id=name))).reason == "CONVERSATION_NOT_FOUND"

    assert name.startswith("conv_")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_items_are_added_listed_told_and_taken_out(transport: Transport, store: UnsteadyStore) -> None:
    async with over_dialect(Turning(saying("One.")), store, transport) as (alice, _):
        name = await begun(alice, "first")
        given = [said("second") | {"id": "msg_mine"}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]
        added = await alice.ask("AddConversationItems", conversation_id=name, items=given)
        assert [item["id"].partition("_")[2] == "mine" for item in added["data"]] == [True, False]
        assert (added["object"], added["has_more"], added["first_id"]) == ("list", False, "msg_mine")

        item = await alice.ask("GetConversationItem", conversation_id=name, item_id="msg_mine")
        assert item == added["data"][0]
        assert (item["content"], item["status"]) == ([{"type": "input_text", "text": "second"}], "completed")
        conversation = await alice.ask("DeleteConversationItem", conversation_id=name, item_id="msg_mine")
        assert (conversation["id"], conversation["object"]) == (name, "conversation")
        for rpc in ("GetConversationItem", "DeleteConversationItem"):
            error = await refused(alice.ask(rpc, conversation_id=name, item_id="msg_mine"))
            assert (error.reason, error.param) == ("ITEM_NOT_FOUND", "item_id")
        assert await texts(alice, name) == ["first", "function_call"]


@pytest.mark.parametrize("order", ["asc", "desc", None])
async def test_items_come_page_by_page(order: str | None, store: UnsteadyStore) -> None:
    told = [str(number) for number in range(7)]
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        name = await begun(alice, *told)
        seen: list[str] = []
        pages: list[dict[str, Any]] = [{"has_more": True}]
        while pages[-1]["has_more"]:
            after = {"after": pages[-1]["last_id"]} if "last_id" in pages[-1] else {}
            pages.append(await alice.ask("ListConversationItems", conversation_id=name, limit=3, order=order, **after))
            seen += [text_of(item) for item in pages[-1]["data"]]

    assert seen == (told if order == "asc" else told[::-1])
    assert [len(page["data"]) for page in pages[1:]] == [3, 3, 1]


async def test_an_empty_conversation_has_an_empty_page(store: UnsteadyStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        page = await alice.ask("ListConversationItems", conversation_id=await begun(alice))

    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("rpc", "body", "param"),
    [
        ("CreateConversation", {"items": [said("x")] * 21}, "items"),
        ("CreateConversation", {"metadata": {str(number): "v" for number in range(17)}}, "metadata"),
        ("CreateConversation", {"metadata": {"k": "v" * 513}}, "metadata.k"),
        ("CreateConversation", {"items": [{"type": "item_reference", "id": "msg_1"}]}, "items[0]"),
        ("CreateConversation", {"items": [said("x") | {"id": "a"}, said("y") | {"id": "a"}]}, "items[1].id"),
        ("CreateConversation", {"items": [said("x") | {"id": "i" * 513}]}, "items[0].id"),
        ("UpdateConversation", {"metadata": {"k" * 65: "v"}}, "metadata"),
        ("AddConversationItems", {"items": []}, "items"),
        ("AddConversationItems", {"items": [said("x")] * 21}, "items"),
        ("AddConversationItems", {"items": [said("x") | {"id": "msg_taken"}]}, "items"),
        ("ListConversationItems", {"after": "msg_unknown"}, "after"),
        ("ListConversationItems", {"after": ""}, "after"),
        ("ListConversationItems", {"limit": 101}, "limit"),
        ("ListConversationItems", {"order": "up"}, "order"),
        ("ListConversationItems", {"include": ["novel"]}, "include[0]"),
        ("GetConversationItem", {"item_id": "msg_taken", "include": ["novel"]}, "include[0]"),
        ("AddConversationItems", {"items": [said("x")], "include": ["novel"]}, "include[0]"),
    ],
)
async def test_what_is_wrong_is_named(rpc: str, body: dict[str, Any], param: str, store: UnsteadyStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        made = await alice.ask("CreateConversation", items=[said("x") | {"id": "msg_taken"}], metadata={"a": "b"})
        where = {} if rpc == "CreateConversation" else {"conversation_id": made["id"]}
        error = await refused(alice.ask(rpc, **where, **body))

        assert (error.reason, error.param) == ("UNSUPPORTED_PARAMETER" if "include" in body else "INVALID_REQUEST", param)
        assert await alice.ask("GetConversation", conversation_id=made["id"]) == made
        assert await texts(alice, made["id"]) == ["x"]


async def everything_about(caller: Caller, name: str) -> list[str]:
    """The reasons for which everything is refused that one can ask of a conversation."""
    calls = [
        caller.ask("GetConversation", conversation_id=name),
        caller.ask("UpdateConversation", conversation_id=name, metadata={}),
        caller.ask("DeleteConversation", conversation_id=name),
        caller.ask("AddConversationItems", conversation_id=name, items=[said("x")]),
        caller.ask("ListConversationItems", conversation_id=name),
        caller.ask("GetConversationItem", conversation_id=name, item_id="msg_1"),
        caller.ask("DeleteConversationItem", conversation_id=name, item_id="msg_1"),
        caller.create(conversation=name),
        caller.stream(conversation=name),
        caller.ask("CountInputTokens", model="lab/m", conversation=name),
    ]
    return [(await refused(call)).reason for call in calls]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_belongs_to_another_key_is_not_there(transport: Transport, store: UnsteadyStore) -> None:
    turning = Turning(saying("One."))
    async with over_dialect(turning, store, transport) as (alice, bob):
        name = await begun(alice, "first")

        assert await everything_about(bob, name) == ["CONVERSATION_NOT_FOUND"] * 10
        assert await texts(alice, name) == ["first"]
    assert turning.asked == []


@pytest.mark.parametrize("name", [UNKNOWN, *ODD_IDS])
async def test_what_never_was_is_not_there(name: str, store: UnsteadyStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        await begun(alice, "first")

        assert await everything_about(alice, name) == ["CONVERSATION_NOT_FOUND"] * 10


# ---- responses in them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("stored", [True, False])
async def test_a_response_goes_on_in_a_conversation_and_adds_to_it(streamed: bool, stored: bool, store: UnsteadyStore) -> None:
    turning = Turning(saying("One."), saying("Two."))
    async with over_dialect(turning, store) as (alice, _):
        name = await begun(alice, "Hello")
        for text in ("first", "second"):
            body = {"input": text, "conversation": name, "store": stored}
            given = (await alice.stream(**body))[-1]["response"] if streamed else await alice.create(**body)
            assert given["conversation"] == {"id": name}

        assert await texts(alice, name) == ["Hello", "first", "One.", "second", "Two."]
        if stored:
            assert await alice.texts(given["id"]) == ["Hello", "first", "One.", "second"]

    assert [text for _, text in turning.heard()] == ["Hello", "first", "One.", "second"]


@pytest.mark.parametrize("reference", [str, lambda name: {"id": name}])
async def test_a_conversation_may_be_named_in_two_ways(reference: Any, store: UnsteadyStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        name = await begun(alice)
        await alice.create(conversation=reference(name), input="first")

        assert await texts(alice, name) == ["first", "One."]


async def test_what_was_cut_short_is_added_too(store: UnsteadyStore) -> None:
    async with over_dialect(Turning(CUT_SHORT), store) as (alice, _):
        name = await begun(alice)
        given = await alice.create(conversation=name, input="first")

        assert given["status"] == "incomplete"
        assert await texts(alice, name) == ["first", "On"]


@pytest.mark.parametrize("begun_already", [True, False])
async def test_what_fails_adds_nothing(begun_already: bool, store: UnsteadyStore) -> None:
    halting = Halting(UpstreamFailed("It broke."), begins=begun_already)
    halting.gate.set()
    async with over_dialect(halting, store) as (alice, _):
        name = await begun(alice, "Hello")
        if begun_already:
            assert (await alice.stream(conversation=name))[-1]["type"] == "response.failed"
        else:
            assert (await refused(alice.stream(conversation=name))).reason == "UPSTREAM_FAILED"

        assert await texts(alice, name) == ["Hello"]


async def test_a_response_in_a_conversation_that_is_deleted_meanwhile_is_answered(store: UnsteadyStore) -> None:
    store.open.clear()
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        name = await begun(alice, "Hello")
        events = alice.events(conversation=name)
        response = (await anext(events))["response"]
        await alice.ask("DeleteConversation", conversation_id=name)
        store.open.set()
        rest = [event async for event in events]

        assert rest[-1]["type"] == "response.completed"
        assert (await alice.get(response["id"]))["status"] == "completed"
        assert await alice.texts(response["id"]) == ["hi"]


async def test_what_cannot_be_added_is_not_answered_as_if_it_were(store: UnsteadyStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        name = await begun(alice, "Hello")
        store.fault = Overloaded("The store cannot be reached now; try again.")

        assert (await refused(alice.create(conversation=name, store=False))).reason == "OVERLOADED"
        events = await alice.stream(conversation=name, store=False)
        assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]


async def test_an_upstream_that_counts_its_items_anew_loses_none(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    say(upstream, "One.", "Two.")
    async with over_upstream(upstream, tmp_path) as (alice, _):
        name = await begun(alice)
        given = [await alice.create(model="oai/m", conversation=name, input=text) for text in ("first", "second")]
        assert given[0]["output"][0]["id"] == given[1]["output"][0]["id"]

        assert await texts(alice, name) == ["first", "One.", "second", "Two."]


async def test_a_response_only_there_to_go_on_from_adds_its_input(store: UnsteadyStore) -> None:
    async with over_dialect(Turning(saying("One.")), store) as (alice, _):
        name = await begun(alice)
        await alice.create(conversation=name, input="first", generate=False)

        assert await texts(alice, name) == ["first"]
