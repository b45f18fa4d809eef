"""What a request is planned as: what it goes on from, what of it is refused, and what a model is then asked."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.model.responses.kept import sqlite
from tests.model.responses.service import asking, said
from tests.model.responses.turning import Turning, item, managed, registry_of, saying
from tests.upstreams.scripted import ScriptedUpstream
from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InternalError, InvalidRequest, ServiceError
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.store import Change, StoredConversation
from trivet.model_service.responses.item_ids import item_id
from trivet.model_service.responses.keeping.records import stored_item
from trivet.model_service.responses.plan import Plan, Planner, record_of, turn_request
from trivet.model_service.routing.router import Router
from trivet.model_service.turns import ModelTurns

ALICE = "alice"
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": "{}"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    async with sqlite(tmp_path) as opened:
        yield opened


@pytest.fixture
def planner(store: SqlStore) -> Planner:
    return Planner(managed(Turning(saying("x"))), store)


@pytest.fixture
async def native(store: SqlStore) -> AsyncIterator[Planner]:
    """Plans for a provider of the Responses API."""
    async with ScriptedUpstream() as upstream:
        dialect = OpenAIResponses(UpstreamHttp("lab", Endpoint(upstream.base_url)))
        registry = registry_of(dialect)
        yield Planner(ModelTurns(registry, Router(registry), AddressGuard()), store)
        await dialect.aclose()


async def ended(planner: Planner, store: SqlStore, *output: dict[str, Any], status: str = "completed", **asked: Any) -> str:
    """The id of a stored response with this output."""
    plan = await planner.plan(asking(**asked), ALICE)
    plan.told.output.extend(item(**one) for one in output)
    plan.told.status = status
    await store.add(record_of(plan, plan.told, streamed=False))
    return plan.told.id


async def conversing(store: SqlStore, *given: Item) -> str:
    await store.add_conversation(StoredConversation("conv_1", ALICE, 1), [stored_item(one) for one in given])
    return "conv_1"


def texts(items: Any) -> list[str]:
    """What items say; of those that are no messages their kind."""
    return [
        "".join(part.input_text.text or part.output_text.text for part in one.message.content.parts.parts)
        or one.message.content.text
        if one.HasField("message")
        else one.WhichOneof("kind")
        for one in items
    ]


async def refusal(planner: Planner, owner: str = ALICE, **asked: Any) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        await planner.plan(asking(**asked), owner)
    return refused.value


# ---- what it goes on from ----------------------------------------------------------------------------------------------


async def test_a_plan_has_the_history_and_the_input_apart(planner: Planner, store: SqlStore) -> None:
    first = await ended(planner, store, said("One.", "assistant") | {"id": "msg_1"}, input="first")

    plan = await planner.plan(asking(input="second", previous_response_id=first), ALICE)

    assert (texts(plan.history), texts(plan.input)) == (["first", "One."], ["second"])
    assert texts(turn_request(plan).input.items.items) == ["first", "One.", "second"]
    assert plan.told.previous_response_id == first


@pytest.mark.parametrize("status", ["incomplete", "failed", "cancelled"])
async def test_a_response_that_ended_badly_is_gone_on_from_with_what_it_has(
    status: str, planner: Planner, store: SqlStore
) -> None:
    first = await ended(planner, store, said("On", "assistant") | {"id": "msg_1"}, status=status, input="first")

    plan = await planner.plan(asking(input="second", previous_response_id=first), ALICE)

    assert texts(plan.history) == ["first", "On"]


@pytest.mark.parametrize("status", ["queued", "in_progress"])
async def test_a_response_that_has_not_ended_is_not_gone_on_from(status: str, planner: Planner, store: SqlStore) -> None:
    first = await ended(planner, store, status=status)

    error = await refusal(planner, previous_response_id=first)

    assert (error.reason, error.param) == ("INVALID_REQUEST", "previous_response_id")


async def test_a_conversation_and_a_response_are_not_gone_on_from_together(planner: Planner, store: SqlStore) -> None:
    first = await ended(planner, store)
    conversation = await conversing(store)

    error = await refusal(planner, previous_response_id=first, conversation=conversation)

    assert (error.reason, error.param) == ("INVALID_REQUEST", "conversation")


@pytest.mark.parametrize("asked", [{"conversation": "conv_2"}, {"conversation": {"id": "conv_2"}}, {"conversation": "conv_1"}])
async def test_a_conversation_that_is_not_there_is_named(asked: dict[str, Any], planner: Planner, store: SqlStore) -> None:
    await conversing(store)

    error = await refusal(planner, "bob", **asked)

    assert (error.reason, error.param) == ("CONVERSATION_NOT_FOUND", "conversation")


async def test_a_response_of_a_conversation_is_gone_on_from_as_the_conversation_was_then(
    planner: Planner, store: SqlStore
) -> None:
    conversation = await conversing(store, item(**said("Hello"), id="msg_a"), item(**said("And?"), id="msg_b"))
    first = await ended(planner, store, said("One.", "assistant") | {"id": "msg_c"}, input="first", conversation=conversation)
    await store.add_items(conversation, [stored_item(item(**said("Later"), id="msg_d"))])
    await store.delete_item(conversation, "msg_b")

    plan = await planner.plan(asking(input="second", previous_response_id=first), ALICE)

    assert texts(plan.history) == ["Hello", "first", "One."]
    assert not plan.told.HasField("conversation")


async def test_a_response_whose_conversation_is_gone_is_not_gone_on_from_with_less(planner: Planner, store: SqlStore) -> None:
    conversation = await conversing(store, item(**said("Hello"), id="msg_a"))
    first = await ended(planner, store, conversation=conversation)
    await store.delete_conversation(conversation, ALICE)

    error = await refusal(planner, previous_response_id=first)

    assert (error.reason, error.param) == ("INVALID_REQUEST", "previous_response_id")


async def test_an_item_of_the_history_may_be_referred_to(planner: Planner, store: SqlStore) -> None:
    first = await ended(planner, store, said("One.", "assistant") | {"id": "msg_1"}, input="first")
    given = [{"type": "item_reference", "id": "msg_1"}, said("second")]

    plan = await planner.plan(asking(input=given, previous_response_id=first), ALICE)

    assert texts(plan.input) == ["second"]
    assert texts(turn_request(plan).input.items.items) == ["first", "One.", "second"]


async def test_an_item_of_any_response_may_be_referred_to_and_stands_where_it_is(planner: Planner, store: SqlStore) -> None:
    first = await ended(planner, store, said("One.", "assistant") | {"id": "msg_1"}, input=[said("first") | {"id": "msg_0"}])
    await ended(planner, store, CALL, input="second", previous_response_id=first)
    result = {"type": "function_call_output", "call_id": "call_1", "output": "3"}
    given = [{"id": "msg_0"}, {"type": "item_reference", "id": "msg_1"}, said("second"), {"id": "fc_1"}, result, {"id": "msg_1"}]

    plan = await planner.plan(asking(input=given), ALICE)

    assert texts(plan.input) == ["first", "One.", "second", "function_call", "function_call_output"]
    assert turn_request(plan).input.items.items == plan.input
    assert list(map(item_id, plan.input))[:2] == ["msg_0", "msg_1"]
    assert plan.history == []


async def test_what_was_referred_to_is_own_input_from_then_on(planner: Planner, store: SqlStore) -> None:
    first = await ended(planner, store, said("One.", "assistant") | {"id": "msg_1"})
    second = await ended(planner, store, input=[{"id": "msg_1"}])
    await store.delete(first, ALICE)

    assert texts((await planner.plan(asking(input="third", previous_response_id=second), ALICE)).history) == ["One."]
    assert texts((await planner.plan(asking(input=[{"id": "msg_1"}]), ALICE)).input) == ["One."]
    await store.delete(second, ALICE)
    assert (await refusal(planner, input=[{"id": "msg_1"}])).param == "input[0]"


async def test_of_two_items_with_one_id_the_newest_is_meant(planner: Planner, store: SqlStore) -> None:
    for text in ("One.", "Two.", "Three."):
        await ended(planner, store, said(text, "assistant") | {"id": "msg_0"})

    assert texts((await planner.plan(asking(input=[{"id": "msg_0"}]), ALICE)).input) == ["Three."]


async def test_an_item_of_a_conversation_may_be_referred_to_from_anywhere(planner: Planner, store: SqlStore) -> None:
    conversation = await conversing(store, item(**said("Hello"), id="msg_a"))
    first = await ended(planner, store, said("One.", "assistant") | {"id": "msg_1"}, input="first")
    given = [{"id": "msg_1"}, {"id": "msg_a"}]

    alone = await planner.plan(asking(input=given), ALICE)
    inside = await planner.plan(asking(input=given, conversation=conversation), ALICE)
    after = await planner.plan(asking(input=given, previous_response_id=first), ALICE)

    assert texts(alone.input) == ["One.", "Hello"]
    assert (texts(inside.history), texts(inside.input)) == (["Hello"], ["One."])
    assert (texts(after.history), texts(after.input)) == (["first", "One."], ["Hello"])


async def test_nobody_refers_to_another_s_items(planner: Planner, store: SqlStore) -> None:
    await conversing(store, item(**said("Hello"), id="msg_a"))
    await ended(planner, store, said("One.", "assistant") | {"id": "msg_1"})

    for name in ("msg_a", "msg_1"):
        error = await refusal(planner, "bob", input=[{"id": name}])
        assert (error.reason, error.param) == ("INVALID_REQUEST", "input[0]")


async def test_references_are_looked_up_together(planner: Planner, store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"msg_{number}" for number in range(20)]
    for name in names:
        await ended(planner, store, said(name, "assistant") | {"id": name})
    asked: list[Any] = []
    look_up = store.holders

    async def counted(item_ids: Any, owner: str) -> Any:
        asked.append(item_ids)
        return await look_up(item_ids, owner)

    monkeypatch.setattr(store, "holders", counted)

    plan = await planner.plan(asking(input=[{"id": name} for name in names]), ALICE)

    assert texts(plan.input) == names
    assert len(asked) == 1


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_reference_to_what_is_not_there_is_named(goes_on: bool, planner: Planner, store: SqlStore) -> None:
    first = await ended(planner, store)
    more = {"previous_response_id": first} if goes_on else {}

    error = await refusal(planner, input=[said("hi"), {"id": "msg_unknown"}], **more)

    assert (error.reason, error.param) == ("INVALID_REQUEST", "input[1]")


async def test_an_id_that_the_conversation_has_is_not_given_again(planner: Planner, store: SqlStore) -> None:
    conversation = await conversing(store, item(**said("Hello"), id="msg_a"))

    for given in ([said("x") | {"id": "msg_a"}], [said("x") | {"id": "msg_b"}, said("y") | {"id": "msg_b"}]):
        error = await refusal(planner, input=given, conversation=conversation)
        assert (error.reason, error.param) == ("INVALID_REQUEST", f"input[{len(given) - 1}].id")


# ---- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "reason", "param"),
    [
        ({"model": "nobody/m"}, "MODEL_NOT_FOUND", "model"),
        ({"prompt": {"id": "pmpt_1"}}, "UNSUPPORTED_PARAMETER", "prompt"),
        ({"metadata": {"k" * 65: "v"}}, "INVALID_REQUEST", "metadata"),
        ({"metadata": {"k": "v" * 513}}, "INVALID_REQUEST", "metadata.k"),
        ({"background_options": {"completion_window": "8h"}}, "UNSUPPORTED_PARAMETER", "background_options.completion_window"),
        ({"background_options": {"continuation_id": "c_1"}}, "UNSUPPORTED_PARAMETER", "background_options.continuation_id"),
        ({"background_options": {"priority": 1}}, "UNSUPPORTED_PARAMETER", "background_options.priority"),
    ],
)
async def test_what_is_wrong_is_named(asked: dict[str, Any], reason: str, param: str, planner: Planner) -> None:
    error = await refusal(planner, **asked)

    assert (error.reason, error.param) == (reason, param)


async def test_the_longest_notes_are_taken(planner: Planner) -> None:
    plan = await planner.plan(asking(metadata={"k" * 64: "é" * 512}), ALICE)

    assert plan.told.metadata["k" * 64] == "é" * 512


async def test_a_text_is_plain_for_a_provider_of_this_api_where_its_reasoning_is_not_to_be_kept(native: Planner) -> None:
    assert (await native.plan(asking(store=False), ALICE)).is_plain
    assert not (await native.plan(asking(store=True), ALICE)).is_plain
    assert not (await native.plan(asking(), ALICE)).is_plain


async def test_a_prompt_passes_to_a_provider_that_has_it(native: Planner) -> None:
    plan = await native.plan(asking(prompt={"id": "pmpt_1"}), ALICE)

    assert turn_request(plan).prompt.id == "pmpt_1"


# ---- what is told and kept ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "store", "kept", "expires"),
    [
        ({}, True, True, False),
        ({"store": None}, True, True, False),
        ({"store": True}, True, True, False),
        ({"store": False}, False, False, True),
        ({"background": True}, True, True, False),
        ({"background": True, "store": False}, False, True, True),
    ],
)
async def test_a_response_says_whether_it_is_stored(
    asked: dict[str, Any], store: bool, kept: bool, expires: bool, planner: Planner
) -> None:
    plan = await planner.plan(asking(**asked), ALICE)
    record = record_of(plan, plan.told, streamed=False)

    assert (plan.told.store, plan.kept) == (store, kept)
    assert record.expires_at == (plan.told.created_at + 600 if expires else 0)
    assert (record.request != b"") == plan.told.background


async def test_a_plan_is_the_same_when_it_is_taken_up_again(planner: Planner, store: SqlStore) -> None:
    first = await ended(planner, store, said("One.", "assistant") | {"id": "msg_1"}, input="first")
    plan = await planner.plan(asking(input="second", previous_response_id=first, background=True, metadata={"k": "v"}), ALICE)
    await store.add(record_of(plan, plan.told, streamed=True))
    begun = Response()
    begun.CopyFrom(plan.told)
    begun.output.add().message.content.text = "half"
    await store.change(plan.told.id, Change(status="in_progress", response=begun.SerializeToString()))
    await store.delete(first, ALICE)
    claimed = await store.claim("runner", 1)
    assert claimed is not None

    assert await planner.again(claimed) == plan


async def test_what_can_t_be_read_again_is_a_fault_of_ours(planner: Planner, store: SqlStore) -> None:
    name = await ended(planner, store)
    stored = await store.get(name, ALICE)
    assert stored is not None

    with pytest.raises(InternalError):
        await planner.again(stored)


# ---- what a model is asked ---------------------------------------------------------------------------------------------


async def test_a_model_is_asked_what_it_would_be_without_a_store(planner: Planner) -> None:
    given = {"input": [said("hi")], "temperature": 0.5, "novel": {"a": 1}, "metadata": {"k": "v"}}
    ours = {"store": True, "background": True, "background_options": {"completion_window": "soonest"}, "generate": True}

    plan = await planner.plan(asking(**given, **ours), ALICE)

    assert turn_request(plan) == asking(**given)
    assert codec_for(type(plan.request)).encode(plan.request).keys() >= ours.keys()


async def test_what_was_said_so_far_comes_last(planner: Planner) -> None:
    plan = await planner.plan(asking(input="first"), ALICE)

    request = turn_request(plan, [item(**said("so far", "assistant"), id="msg_1")])

    assert texts(request.input.items.items) == ["first", "so far"]
    assert plan.request.input.text == "first"


THOUGHTS = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "enc"},
    {"type": "reasoning", "id": "rs_3", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
]


async def test_an_upstream_is_not_told_of_thoughts_that_only_another_could_have_kept_or_read(
    native: Planner, planner: Planner, store: SqlStore
) -> None:
    first = await ended(native, store, *THOUGHTS)

    def thoughts(plan: Plan) -> list[str]:
        return [item_id(one) for one in turn_request(plan).input.items.items if one.HasField("reasoning")]

    assert thoughts(await native.plan(asking(previous_response_id=first), ALICE)) == ["rs_2", "rs_3"]
    assert thoughts(await planner.plan(asking(previous_response_id=first), ALICE)) == ["rs_1", "rs_3"]
    references = [{"id": one["id"]} for one in THOUGHTS]
    assert thoughts(await native.plan(asking(input=references), ALICE)) == ["rs_2", "rs_3"]
    assert thoughts(await planner.plan(asking(input=references), ALICE)) == ["rs_1", "rs_3"]
    for either in (native, planner):
        assert thoughts(await either.plan(asking(input=THOUGHTS), ALICE)) == ["rs_1", "rs_2", "rs_3"]


async def test_every_item_of_the_input_gets_an_id(planner: Planner) -> None:
    given = [said("hi"), {"type": "novel", "x": 1}, {"type": "novel", "id": "n_1"}, THOUGHTS[1]]

    plan = await planner.plan(asking(input=given), ALICE)

    ids = list(map(item_id, plan.input))
    assert [name.partition("_")[0] for name in ids] == ["msg", "item", "n", "rs"]
    assert ids[2:] == ["n_1", "rs_2"]
    assert len(set(ids)) == 4
    with pytest.raises(InvalidRequest):
        await planner.plan(asking(input=[{"type": "item_reference", "id": ids[0]}]), ALICE)
