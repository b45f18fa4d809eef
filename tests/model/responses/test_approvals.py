"""Calls that a person has to allow: asked for, allowed, denied, and made only then."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.model.responses.mcp_rig import ADD, ALWAYS, DIALECTS, DONE, NEVER, Json, McpWorld, calling, items, mcp_world, plan
from trivet.kernel.errors import InvalidRequest


@pytest.fixture
async def world() -> AsyncIterator[McpWorld]:
    async with mcp_world() as made:
        yield made


def answer(request: Json, *, approve: bool, **more: Any) -> Json:
    return {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve, **more}


def outputs(body: Json, dialect: str) -> list[str]:
    """What the model reads of the calls."""
    if dialect == "lab":
        return [message["content"] for message in body["messages"] if message["role"] == "tool"]
    return [item["output"] for item in body["input"] if item["type"] == "function_call_output"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_call_that_needs_approval_is_asked_for_and_the_response_ends(world: McpWorld, dialect: str) -> None:
    world.play(dialect, ADD)

    run = await world.ask(dialect, tools=[ALWAYS])

    (asked,) = run.items("mcp_approval_request")
    assert (asked["server_label"], asked["name"], json.loads(asked["arguments"])) == ("math", "add", {"a": 1, "b": 2})
    assert run.kinds[-3:] == ["output_item.added", "output_item.done", "completed"]
    assert run.response["status"] == "completed"
    assert world.server.seen["tools/call"] == 0


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_allowed_call_is_made_before_the_model_goes_on(world: McpWorld, dialect: str) -> None:
    world.play(dialect, ADD, DONE)
    first = await world.ask(dialect, tools=[ALWAYS])
    (asked,) = first.items("mcp_approval_request")

    run = await world.make(plan(dialect, tools=[ALWAYS], history=items(first), input=[answer(asked, approve=True)]))

    assert [item["type"] for item in run.output] == ["mcp_call", "message"]
    call = run.output[0]
    assert (call["approval_request_id"], call["output"], call["status"]) == (asked["id"], "3", "completed")
    assert outputs(world.bodies()[1], dialect) == ["3"]
    assert list(run.steps) == ["turn:0", f"call:{call['id']}"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_denied_call_is_not_made_and_the_model_reads_why(world: McpWorld, dialect: str) -> None:
    world.play(dialect, ADD, DONE)
    first = await world.ask(dialect, tools=[ALWAYS])
    (asked,) = first.items("mcp_approval_request")
    denied = answer(asked, approve=False, reason="too dear")

    run = await world.make(plan(dialect, tools=[ALWAYS], history=items(first), input=[denied]))

    assert [item["type"] for item in run.output] == ["message"]
    assert "too dear" in outputs(world.bodies()[1], dialect)[0]
    assert world.server.seen["tools/call"] == 0


async def test_a_question_that_is_not_answered_is_not_told_to_the_model(world: McpWorld) -> None:
    world.play("lab", calling(("add", {"a": 1, "b": 2}), ("say", {"text": "x"})), DONE)
    first = await world.ask(tools=[ALWAYS])
    asked, _ = first.items("mcp_approval_request")

    await world.make(plan(tools=[ALWAYS], history=items(first), input=[answer(asked, approve=True)]))

    assert outputs(world.bodies()[1], "lab") == ["3"]


async def test_calls_that_need_no_approval_are_made_before_others_are_asked_for(world: McpWorld) -> None:
    world.play("lab", calling(("add", {"a": 1, "b": 2}), ("say", {"text": "x"})))
    approval = {"never": {"tool_names": ["say"]}}

    run = await world.ask(tools=[NEVER | {"require_approval": approval}])

    assert [item["type"] for item in run.output] == ["mcp_list_tools", "mcp_call", "mcp_approval_request"]
    assert run.output[1]["output"] == "x"


async def test_a_caller_who_keeps_the_conversation_may_send_all_of_it_again(world: McpWorld) -> None:
    world.play("lab", ADD, DONE, DONE)
    first = await world.ask(tools=[ALWAYS])
    (asked,) = first.items("mcp_approval_request")
    begun = [{"type": "message", "role": "user", "content": "go"}, *first.output, answer(asked, approve=True)]
    second = await world.ask(tools=[ALWAYS], input=begun)

    third = await world.ask(tools=[ALWAYS], input=[*begun, *second.output, {"type": "message", "role": "user", "content": "on"}])

    assert [item["type"] for item in second.output] == ["mcp_call", "message"]
    assert [item["type"] for item in third.output] == ["message"]
    assert world.server.seen["tools/call"] == 1
    assert [message["role"] for message in world.bodies()[2]["messages"]] == ["user", "assistant", "tool", "assistant", "user"]


async def test_a_call_that_is_allowed_twice_is_made_once(world: McpWorld) -> None:
    world.play("lab", ADD, DONE)
    first = await world.ask(tools=[ALWAYS])
    allowed = answer(first.items("mcp_approval_request")[0], approve=True)

    run = await world.make(plan(tools=[ALWAYS], history=items(first), input=[allowed, allowed]))

    assert len(run.items("mcp_call")) == 1


async def test_an_allowed_call_of_a_tool_that_is_no_longer_offered_fails(world: McpWorld) -> None:
    world.play("lab", ADD, DONE)
    first = await world.ask(tools=[ALWAYS])
    allowed = answer(first.items("mcp_approval_request")[0], approve=True)

    run = await world.make(plan(tools=[ALWAYS | {"allowed_tools": ["say"]}], history=items(first), input=[allowed]))

    (call,) = run.items("mcp_call")
    assert call["error"] == {
        "type": "mcp_protocol_error",
        "code": -32602,
        "message": "There is no tool `add`. Available tools: say.",
    }


async def test_an_answer_to_what_was_never_asked_is_refused(world: McpWorld) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await world.ask(input=[answer({"id": "mcpr_unheard"}, approve=True)])

    assert refused.value.param == "input[0].approval_request_id"


@pytest.mark.parametrize("tools", [[], [NEVER | {"server_label": "other"}]])
async def test_an_allowed_call_needs_its_server_again(world: McpWorld, tools: list[Json]) -> None:
    world.play("lab", ADD)
    first = await world.ask(tools=[ALWAYS])
    allowed = answer(first.items("mcp_approval_request")[0], approve=True)
    again = plan(tools=tools, history=items(first), input=[allowed])

    with pytest.raises(InvalidRequest) as refused:
        world.maker.check(again)

    assert refused.value.param == "tools"
    with pytest.raises(InvalidRequest):
        await world.maker.whole(again)
