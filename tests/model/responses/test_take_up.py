"""A response whose process died is gone on with by another, from whatever was kept of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import pytest

from tests.e2e.answers import Answer
from tests.model.responses.mcp_rig import ALWAYS, DIALECTS, DONE, NEVER, Json, McpWorld, Run, calling, mcp_world, plan
from tests.model.responses.recorded import copies
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.mcp.steps import Step
from trivet.model_service.responses.plan import Plan

OWN: Json = {"type": "function", "name": "own", "parameters": {"type": "object"}, "strict": False}
TWO = calling(("add", {"a": 1, "b": 2}), ("say", {"text": "x"}), text=("Let me ", "see."))
ONE = calling(("add", {"a": 3, "b": 4}))
BOTH = calling(("add", {"a": 1, "b": 2}), ("own", {"x": 1}))
ASKED = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "math", "name": "add", "arguments": '{"a":1,"b":2}'}
ALLOWED = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}

Said = ResponseEvent | Step


@dataclass(frozen=True)
class Story:
    """What a response is asked with, what the model says, turn by turn, and which items of the response matter in the end."""

    asked: Json
    answers: Sequence[Answer]
    ends_with: Sequence[str]


STORIES = {
    "calls": Story({"tools": [NEVER]}, [TWO, ONE, DONE], ["mcp_call", "mcp_call", "mcp_call", "message"]),
    "a question": Story(
        {"tools": [NEVER | {"require_approval": {"never": {"tool_names": ["say"]}}}]}, [TWO], ["mcp_call", "mcp_approval_request"]
    ),
    "an allowed call": Story({"tools": [ALWAYS], "input": [ASKED, ALLOWED]}, [DONE], ["mcp_call", "message"]),
    "no servers": Story({"tools": [OWN]}, [calling(("own", {"x": 1}), text=("Hm.",))], ["function_call"]),
    "too many": Story({"tools": [NEVER], "max_tool_calls": 1}, [TWO, DONE], ["mcp_call", "mcp_call", "message"]),
}


@pytest.fixture
async def world() -> AsyncIterator[McpWorld]:
    async with mcp_world() as made:
        yield made


def again(planned: Plan) -> Plan:
    """The same plan in another process."""
    return replace(planned, told=Response.FromString(planned.told.SerializeToString()))


async def make(world: McpWorld, planned: Plan, kept: Sequence[Said]) -> list[Said]:
    """Goes on with what was kept; all that was said then."""
    planned = again(planned)
    events = copies(said for said in kept if not isinstance(said, Step))
    steps = {said.name: said.data for said in kept if isinstance(said, Step)}
    assembly = Assembly.restored(planned.told, events)
    said: list[Said] = [] if kept else list(copies(assembly.begin(queued=True)))
    async with aclosing(world.maker.make(planned, assembly, steps)) as making:
        async for one in making:
            said += [one] if isinstance(one, Step) else copies(one)
    return said


def run_of(world: McpWorld, said: Sequence[Said]) -> Run:
    return world.run([one if isinstance(one, Step) else [one] for one in said], taken_up=True)


def turns_in(kept: Sequence[Said]) -> int:
    """How many turns of the model are recorded."""
    return sum(isinstance(one, Step) and one.name.startswith("turn:") and one.name != "turn:0" for one in kept)


def calls_in(kept: Sequence[Said]) -> set[str]:
    """The calls that are recorded as finished."""
    return {one.name.removeprefix("call:") for one in kept if isinstance(one, Step) and one.name.startswith("call:")}


def ended(kept: Sequence[Said]) -> bool:
    return bool(kept) and not isinstance(kept[-1], Step) and kept[-1].WhichOneof("event") in {"completed", "incomplete"}


def finished(run: Run) -> list[Json]:
    """The calls of tools that ran."""
    return [call for call in run.items("mcp_call") if call["output"] is not None]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", STORIES)
async def test_it_is_gone_on_with_from_wherever_it_broke_off(world: McpWorld, dialect: str, name: str) -> None:
    story = STORIES[name]
    planned = plan(dialect, background=True, store=True, **story.asked)
    world.play(dialect, *story.answers)
    undisturbed = await make(world, planned, [])
    whole = run_of(world, undisturbed)
    assert kinds(whole, story) == list(story.ends_with)

    for kept in prefixes(undisturbed):
        world.upstream.forget()
        world.server.forget()
        world.play(dialect, *story.answers[turns_in(kept) :])
        said = [*kept, *await make(world, planned, kept)]

        run = run_of(world, said)
        assert kinds(run, story) == list(story.ends_with)
        assert [call["output"] for call in finished(run)] == [call["output"] for call in finished(whole)]
        assert world.server.seen["tools/call"] == len(finished(whole)) - len(calls_in(kept))
        assert len({call["id"] for call in finished(run)}) == len(finished(run))


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_call_of_the_caller_that_was_told_ends_it(world: McpWorld, dialect: str) -> None:
    story = Story({"tools": [NEVER, OWN]}, [BOTH], ["function_call", "mcp_call"])
    planned = plan(dialect, background=True, store=True, **story.asked)
    world.play(dialect, *story.answers)
    undisturbed = await make(world, planned, [])

    for kept in prefixes(undisturbed):
        world.upstream.forget()
        world.play(dialect, *story.answers[turns_in(kept) :])
        run = run_of(world, [*kept, *await make(world, planned, kept)])

        # What else the turn asked for is known only if it was recorded; the model will ask again when it has the result.
        told = any(not isinstance(one, Step) and one.output_item_done.item.HasField("function_call") for one in kept)
        lost = told and not turns_in(kept)
        assert kinds(run, story) == story.ends_with[: 1 if lost else 2]
        assert (world.bodies() == []) == told


def prefixes(said: Sequence[Said]) -> list[Sequence[Said]]:
    """All that may have been kept of a response that has begun, and not ended."""
    begun = [said[:length] for length in range(2, len(said))]
    return [kept for kept in begun if not ended(kept)]


def kinds(run: Run, story: Story) -> list[str]:
    """The types of the items that are done, but for lists, and what the model said on the way to its calls."""
    found = [item["type"] for item in run.output if item.get("status") != "incomplete" and item["type"] != "mcp_list_tools"]
    last = len(found) - 1
    return [kind for place, kind in enumerate(found) if kind != "message" or (place == last and "message" in story.ends_with)]


async def test_what_an_interrupted_turn_said_is_not_told_to_the_model(world: McpWorld) -> None:
    planned = plan(background=True, store=True)
    world.play("lab", TWO, DONE)
    said = await make(world, planned, [])
    place = next(n for n, one in enumerate(said) if not isinstance(one, Step) and one.HasField("output_text_delta"))

    world.upstream.forget()
    world.play("lab", DONE)
    run = run_of(world, [*said[: place + 1], *await make(world, planned, said[: place + 1])])

    assert [message["role"] for message in world.bodies()[0]["messages"]] == ["user"]
    interrupted, answer = run.items("message")
    assert (interrupted["status"], interrupted["content"][0]["text"]) == ("incomplete", "Let me ")
    assert answer["content"][0]["text"] == "All done."


async def test_the_bounds_of_a_response_hold_after_it_was_taken_up(world: McpWorld) -> None:
    planned = plan(background=True, store=True, max_output_tokens=100, max_tool_calls=1, tool_choice="required")
    world.play("lab", TWO, DONE)
    said = await make(world, planned, [])
    place = next(n for n, one in enumerate(said) if isinstance(one, Step) and one.name == "turn:1")

    world.upstream.forget()
    world.server.forget()
    world.play("lab", DONE)
    run = run_of(world, [*said[: place + 1], *await make(world, planned, said[: place + 1])])

    (body,) = world.bodies()
    assert (body["max_tokens"], body["tool_choice"]) == (97, "none")
    assert [call["status"] for call in run.items("mcp_call")] == ["completed", "failed"]
    assert run.response["usage"]["output_tokens"] == 6


async def test_a_server_that_is_gone_when_a_response_is_taken_up_keeps_its_tools(world: McpWorld) -> None:
    planned = plan(background=True, store=True, tools=[NEVER | {"allowed_tools": ["add"]}])
    world.play("lab", ONE, DONE)
    said = await make(world, planned, [])
    place = next(n for n, one in enumerate(said) if isinstance(one, Step))

    world.upstream.forget()
    world.play("lab", DONE)
    planned.request.tools[0].mcp.connector_id = "gone"
    run = run_of(world, [*said[: place + 1], *await make(world, planned, said[: place + 1])])

    assert [item["type"] for item in run.output] == ["mcp_list_tools", "mcp_call", "message"]
    assert run.output[1]["error"]["type"] == "http_error"


async def test_an_error_when_it_is_taken_up_ends_it(world: McpWorld) -> None:
    planned = plan(background=True, store=True)
    world.play("lab", ONE, DONE)
    said = await make(world, planned, [])
    kept = said[:5]

    planned.request.tools[0].mcp.connector_id = "unheard"
    run = run_of(world, [*kept, *await make(world, planned, kept)])

    assert run.kinds[-2:] == ["error", "failed"]
