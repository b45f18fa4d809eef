"""Responses with MCP tools: the turns of the model, the calls between them, and how all of that is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from tests.model.responses.mcp_rig import (
    ADD,
    ALWAYS,
    DIALECTS,
    DONE,
    NEVER,
    Json,
    McpWorld,
    calling,
    items,
    mcp_world,
    plan,
    told,
)
from tests.model.responses.turning import Turning, managed
from tests.upstreams.scripted import answer
from trivet.kernel.errors import UpstreamRejected
from trivet.model_service.domain.turn import TextRun, TurnFinished, TurnStarted
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.making import ResponseMaker
from trivet.model_service.responses.mcp.conversation import MOST_TURNS

OWN: Json = {"type": "function", "name": "own", "parameters": {"type": "object"}, "strict": False}
CALL = ["output_item.added", "mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done"]
BOUND_SECONDS = 30


@pytest.fixture
async def world() -> AsyncIterator[McpWorld]:
    async with mcp_world() as made:
        yield made


def read_results(body: Json, dialect: str) -> list[str]:
    """What the model reads of the calls."""
    if dialect == "lab":
        return [message["content"] for message in body["messages"] if message["role"] == "tool"]
    return [item["output"] for item in body["input"] if item["type"] == "function_call_output"]


async def test_pieces_that_come_as_a_run_are_events_of_their_own_for_who_counts_them() -> None:
    turn = [[TurnStarted()], [TextRun(["One", " two"])], [TurnFinished("stop")]]
    maker = ResponseMaker(managed(Turning(turn)), None)
    asked = plan("lab", tools=[])

    async with aclosing(maker.make(asked, Assembly(asked.told), {})) as making:
        events = [event async for said in making if isinstance(said, list) for event in said]

    assert [event.output_text_delta.delta for event in events if event.HasField("output_text_delta")] == ["One", " two"]


# ---- calls -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_call_is_made_and_the_model_goes_on_with_its_result(world: McpWorld, dialect: str) -> None:
    world.play(dialect, calling(("add", {"a": 1, "b": 2}), text=("Let me ", "see.")), DONE)

    run = await world.ask(dialect)

    assert [item["type"] for item in run.output] == ["mcp_list_tools", "message", "mcp_call", "message"]
    begin = run.kinds.index("mcp_call.in_progress") - 1
    assert run.kinds[begin : begin + 6] == [*CALL, "mcp_call.completed", "output_item.done"]
    begun, (call,) = run.events[begin]["item"], run.items("mcp_call")
    assert (begun["arguments"], begun["output"], begun["status"]) == ("", None, "in_progress")
    assert (call["output"], call["error"], call["status"]) == ("3", None, "completed")
    assert read_results(world.bodies()[1], dialect) == ["3"]
    usage = run.response["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] == (20 if dialect == "lab" else 30)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_calls_of_a_turn_run_in_parallel_and_are_told_one_after_another(world: McpWorld, dialect: str) -> None:
    world.play(dialect, calling(("meet", {"name": "one"}), ("meet", {"name": "two"})), DONE)

    async with asyncio.timeout(BOUND_SECONDS):
        run = await world.ask(dialect)

    assert [call["output"] for call in run.items("mcp_call")] == ["one met the other", "two met the other"]
    assert sorted(read_results(world.bodies()[1], dialect)) == ["one met the other", "two met the other"]


async def test_a_call_is_told_as_soon_as_it_begins(world: McpWorld) -> None:
    world.play("lab", calling(("gated", {})), DONE)
    asked = plan()
    async with asyncio.timeout(BOUND_SECONDS), aclosing(world.maker.make(asked, Assembly(asked.told), {})) as making:
        async for said in making:
            if isinstance(said, list) and any(event.HasField("mcp_call_arguments_done") for event in said):
                break
        finishing = asyncio.ensure_future(anext(making))
        await world.server.until(lambda: world.server.running == 1)
        assert not finishing.done()
        world.server.open_gate()
        await finishing


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_tool_that_fails_is_told_and_the_model_goes_on(world: McpWorld, dialect: str) -> None:
    world.play(dialect, calling(("fail", {"why": "full"})), DONE)

    run = await world.ask(dialect)

    (call,) = run.items("mcp_call")
    assert (call["status"], call["output"], call["error"]["type"]) == ("failed", None, "mcp_tool_execution_error")
    assert "full" in call["error"]["content"][0]["text"]
    assert "mcp_call.failed" in run.kinds
    assert "full" in json.loads(read_results(world.bodies()[1], dialect)[0])["error"]
    assert run.response["status"] == "completed"


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("add", "[1]", "The arguments are not a JSON object: [1]"),
        ("unheard", "{}", "There is no tool `unheard`. Available tools: add."),
    ],
)
async def test_a_call_that_cannot_be_made_is_told_to_the_model(world: McpWorld, name: str, arguments: str, said: str) -> None:
    world.play("lab", calling((name, json.loads(arguments))), DONE)

    run = await world.ask(tools=[NEVER | {"allowed_tools": ["add"]}])

    (call,) = run.items("mcp_call")
    assert call["error"] == {"type": "mcp_protocol_error", "code": -32602, "message": said}
    assert call["name"] == name
    assert json.loads(read_results(world.bodies()[1], "lab")[0]) == {"error": said}


async def test_a_call_without_arguments_has_an_empty_object(world: McpWorld) -> None:
    world.server.open_gate()
    world.play("oai", calling(("gated", {})), DONE)

    run = await world.ask("oai")

    (call,) = run.items("mcp_call")
    assert (call["arguments"], call["output"]) == ("{}", "through the gate")


# ---- functions of the caller -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_response_ends_for_a_function_of_the_caller_once_its_own_calls_are_made(world: McpWorld, dialect: str) -> None:
    world.play(dialect, calling(("own", {"x": 1}), ("add", {"a": 1, "b": 2})), DONE)

    run = await world.ask(dialect, tools=[NEVER, OWN])

    assert [item["type"] for item in run.output] == ["mcp_list_tools", "function_call", "mcp_call"]
    assert run.output[2]["output"] == "3"
    assert run.response["status"] == "completed"
    assert len(world.bodies()) == 1

    call = run.output[1]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "7"}
    after = await world.make(plan(dialect, tools=[NEVER, OWN], history=items(run), input=[result]))

    assert [item["type"] for item in after.output] == ["message"]
    assert read_results(world.bodies()[1], dialect) == ["3", "7"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_in_the_background_a_call_of_the_caller_is_told_when_it_is_whole(world: McpWorld, dialect: str) -> None:
    world.play(dialect, calling(("own", {"x": 1}), text=("Hm.",)))
    asked = plan(dialect, tools=[OWN], background=True, store=True)
    assembly = Assembly(asked.told)
    queued = assembly.begin(queued=True)

    async with aclosing(world.maker.make(asked, assembly, {})) as making:
        said = [batch async for batch in making]

    run = world.run([queued, *said])
    (batch,) = [
        batch for batch in said if isinstance(batch, list) and any(e.HasField("function_call_arguments_delta") for e in batch)
    ]
    kinds = [event.WhichOneof("event") for event in batch]
    assert kinds[0] == "output_item_added"
    assert "output_item_done" in kinds
    assert [item["type"] for item in run.output] == ["message", "function_call"]


async def test_what_a_provider_tells_of_a_response_is_told_of_one_of_several_turns(world: McpWorld) -> None:
    world.play("oai", ADD, DONE)

    run = await world.ask("oai", max_output_tokens=100, tool_choice="required")

    assert (run.response["billing"], run.response["novel"]) == ({"payer": "developer"}, None)
    assert run.response["text"]["verbosity"] == "medium"
    assert (run.response["max_output_tokens"], run.response["tool_choice"]) == (100, "required")
    assert [tool["type"] for tool in run.response["tools"]] == ["mcp"]


# ---- bounds ------------------------------------------------------------------------------------------------------------


async def test_calls_beyond_the_most_are_not_made(world: McpWorld) -> None:
    world.play("lab", calling(("add", {"a": 1, "b": 2}), ("say", {"text": "x"})), DONE)

    run = await world.ask(max_tool_calls=1)

    made, refused = run.items("mcp_call")
    assert (made["output"], refused["status"]) == ("3", "failed")
    assert "at most 1" in refused["error"]["content"][0]["text"]
    assert world.server.seen["tools/call"] == 1
    assert [body.get("tool_choice") for body in world.bodies()] == [None, "none"]
    assert run.response["max_tool_calls"] == 1


async def test_the_most_tokens_are_those_of_all_turns(world: McpWorld) -> None:
    world.play("lab", ADD, DONE)

    await world.ask(max_output_tokens=100)

    assert [body["max_tokens"] for body in world.bodies()] == [100, 97]


async def test_a_response_without_tokens_left_is_incomplete(world: McpWorld) -> None:
    world.play("lab", ADD)

    run = await world.ask(max_output_tokens=18)

    assert run.response["status"] == "incomplete"
    assert run.response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [call["output"] for call in run.items("mcp_call")] == ["3"]
    assert len(world.bodies()) == 1


async def test_calls_of_a_turn_that_was_cut_short_are_not_made(world: McpWorld) -> None:
    script = ADD.script("lab", streamed=True)
    cut = [step.replace(b'"finish_reason": "tool_calls"', b'"finish_reason": "length"    ') for step in script]
    world.upstream.play(cut)

    run = await world.ask()

    assert run.response["status"] == "incomplete"
    assert run.items("mcp_call") == []
    assert world.server.seen["tools/call"] == 0


async def test_a_model_that_never_stops_calling_is_stopped(world: McpWorld) -> None:
    world.play("lab", *[ADD] * MOST_TURNS)

    run = await world.ask()

    assert run.response["status"] == "completed"
    assert len(world.bodies()) == MOST_TURNS
    assert len(run.items("mcp_call")) == MOST_TURNS - 1
    assert world.bodies()[-1]["tool_choice"] == "none"


# ---- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_fails_before_the_model_answers_is_an_error_of_the_request(world: McpWorld, dialect: str) -> None:
    world.upstream.play(answer({"error": {"message": "bad"}}, status=400))

    with pytest.raises(UpstreamRejected):
        await world.ask(dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_turn_that_fails_later_ends_the_stream_as_failed(world: McpWorld, dialect: str) -> None:
    world.play(dialect, ADD)
    world.upstream.play(answer({"error": {"message": "bad"}}, status=400))

    run = await world.ask(dialect)

    assert run.kinds[-2:] == ["error", "failed"]
    assert run.response["error"]["message"] == "bad"
    assert [call["output"] for call in run.items("mcp_call")] == ["3"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_turn_that_breaks_off_ends_the_stream_as_failed(world: McpWorld, dialect: str) -> None:
    world.play(dialect, ADD)
    whole = DONE.script(dialect, streamed=True)
    world.upstream.play([*whole[: len(whole) // 2], "reset"])

    run = await world.ask(dialect)

    assert run.kinds[-2:] == ["error", "failed"]
    assert run.response["error"]["code"] == "server_error"


# ---- whole, and left ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_response_in_one_piece_has_the_same_items(world: McpWorld, dialect: str) -> None:
    world.play(dialect, ADD, DONE)

    whole = told(await world.maker.whole(plan(dialect)))

    assert [item["type"] for item in whole["output"]] == ["mcp_list_tools", "mcp_call", "message"]
    assert (whole["status"], whole["output"][1]["output"]) == ("completed", "3")
    assert whole["completed_at"]


async def test_a_response_without_mcp_is_asked_for_in_one_piece(world: McpWorld) -> None:
    world.upstream.play(DONE.script("lab", streamed=False))

    whole = told(await world.maker.whole(plan(tools=[])))

    assert [item["type"] for item in whole["output"]] == ["message"]
    assert not world.bodies()[0].get("stream")


async def test_a_whole_response_that_fails_after_its_calls_says_so(world: McpWorld) -> None:
    world.play("lab", ADD)
    world.upstream.play(answer({"error": {"message": "bad"}}, status=400))

    whole = told(await world.maker.whole(plan()))

    assert (whole["status"], whole["error"]["message"]) == ("failed", "bad")
    assert [item["type"] for item in whole["output"]] == ["mcp_list_tools", "mcp_call"]


async def test_leaving_a_response_cancels_its_calls(world: McpWorld) -> None:
    world.play("lab", calling(("gated", {}), ("gated", {})), DONE)
    asked = plan()
    async with asyncio.timeout(BOUND_SECONDS):
        task = asyncio.create_task(world.maker.whole(asked))
        await world.server.until(lambda: world.server.running == 2)
        task.cancel()
        await world.server.until(lambda: world.server.cancelled == 2)


async def test_leaving_a_response_ends_the_call_of_the_model(world: McpWorld) -> None:
    script = DONE.script("lab", streamed=True)
    world.upstream.play([*script[:3], asyncio.Event()])
    asked = plan()
    async with asyncio.timeout(BOUND_SECONDS):
        async with aclosing(world.maker.make(asked, Assembly(asked.told), {})) as making:
            await anext(making)
        await world.upstream.until(lambda: world.upstream.abandoned == 1)


# ---- who runs them -----------------------------------------------------------------------------------------------------


async def test_a_provider_that_runs_mcp_itself_is_given_the_tools_as_they_are(world: McpWorld) -> None:
    world.play("oai", DONE)
    asked: Any = replace(plan("oai", tools=[ALWAYS | {"authorization": "theirs"}]), runs_mcp=True)

    run = await world.make(asked)

    assert world.bodies()[0]["tools"] == [ALWAYS | {"authorization": "theirs"}]
    assert [item["type"] for item in run.output] == ["message"]
    assert "theirs" not in json.dumps(run.events)


async def test_a_request_without_servers_reads_earlier_calls_all_the_same(world: McpWorld) -> None:
    world.play("lab", ADD, DONE, DONE)
    first = await world.ask()

    await world.make(plan(tools=[], history=items(first)))

    assert read_results(world.bodies()[2], "lab") == ["3"]
