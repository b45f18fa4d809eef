"""Ids of items that are too long to be looked up: callers are refused them, upstreams are not."""

from pathlib import Path

import pytest

from tests.model.responses.kept import sqlite
from tests.model.responses.service import asking, said
from tests.model.responses.turning import Turning, item, managed, saying
from trivet.kernel.errors import InvalidRequest
from trivet.model_service.domain.store import StoredConversation
from trivet.model_service.responses.item_ids import LONGEST, item_ids
from trivet.model_service.responses.keeping.recording import items_of
from trivet.model_service.responses.plan import Planner

LONG = "i" * (LONGEST + 1)


async def test_callers_are_told_how_long_an_id_may_be(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        planner = Planner(managed(Turning(saying("x"))), store)
        assert (await planner.plan(asking(input=[said("x") | {"id": LONG[1:]}]), "alice")).input

        with pytest.raises(InvalidRequest, match="at most 512 characters, but got 513") as refused:
            await planner.plan(asking(input=[said("x"), said("x") | {"id": LONG}]), "alice")

    assert refused.value.param == "input[1].id"


async def test_what_an_upstream_calls_too_long_is_kept_in_a_conversation_by_another_id(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        await store.add_conversation(StoredConversation("conv_1", "alice", 1), [])
        plan = await Planner(managed(Turning(saying("x"))), store).plan(asking(input="x", conversation="conv_1"), "alice")
    plan.told.status = "completed"
    plan.told.output.append(item(type="message", id=LONG, role="assistant", content=[]))

    kept = items_of(plan, plan.told)

    assert kept[1].id.startswith("msg_")
    assert item_ids(plan.told.output) == []
