"""The agent loop, over a conversation and a tool box that play a script."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from trivet.kernel.loop import CallFinished, RunFinished, Streamed, ToolCall, ToolOutcome, run

BOUND_SECONDS = 30


@dataclass
class ScriptedTurn:
    """A model call that streams `said` and asks for `calls`."""

    said: Sequence[str]
    calls: Sequence[ToolCall] = ()
    is_last: bool = False
    closed: bool = False

    async def batches(self) -> AsyncGenerator[str]:
        try:
            for text in self.said:
                yield text
        finally:
            self.closed = True


@dataclass
class ScriptedConversation:
    """Plays its turns in order, the last one again and again."""

    turns: Sequence[ScriptedTurn]
    outcomes: list[tuple[str, str]] = field(default_factory=list)
    asked: int = 0

    def turn(self) -> ScriptedTurn:
        self.asked += 1
        return self.turns[min(self.asked, len(self.turns)) - 1]

    def add_outcome(self, call: ToolCall, outcome: ToolOutcome) -> None:
        self.outcomes.append((call.id, outcome.content))


class GatedTools:
    """Finishes each call when its gate opens, and knows which calls run and which were cancelled."""

    def __init__(self, *names: str) -> None:
        self.gates = {name: asyncio.Event() for name in names}
        self.running: set[str] = set()
        self.cancelled: set[str] = set()
        self.changed = asyncio.Condition()

    async def call(self, call: ToolCall) -> ToolOutcome:
        async with self.changed:
            self.running.add(call.id)
            self.changed.notify_all()
        try:
            await self.gates[call.id].wait()
        except asyncio.CancelledError:
            self.cancelled.add(call.id)
            raise
        return ToolOutcome(f"result of {call.id}")

    async def all_run(self) -> None:
        async with asyncio.timeout(BOUND_SECONDS), self.changed:
            await self.changed.wait_for(lambda: self.running == set(self.gates))


class EchoTools:
    """Answers each call with its arguments."""

    async def call(self, call: ToolCall) -> ToolOutcome:
        return ToolOutcome(call.arguments)


def call(name: str) -> ToolCall:
    return ToolCall(name, "tool", f"arguments of {name}")


async def test_a_turn_without_calls_is_the_whole_run() -> None:
    conversation = ScriptedConversation([ScriptedTurn(["Hel", "lo"])])

    events = [event async for event in run(conversation, EchoTools(), 5)]

    assert [Streamed("Hel"), Streamed("lo"), RunFinished(1, "model")] == events


async def test_results_go_into_the_conversation_before_the_next_turn() -> None:
    conversation = ScriptedConversation([ScriptedTurn(["a"], [call("1")]), ScriptedTurn(["b"])])

    events = [event async for event in run(conversation, EchoTools(), 5)]

    outcome = ToolOutcome("arguments of 1")
    assert [Streamed("a"), CallFinished(call("1"), outcome), Streamed("b"), RunFinished(2, "model")] == events
    assert conversation.outcomes == [("1", "arguments of 1")]


async def test_calls_run_in_parallel_and_finish_in_their_own_order() -> None:
    tools = GatedTools("1", "2", "3")
    conversation = ScriptedConversation([ScriptedTurn([], [call("1"), call("2"), call("3")]), ScriptedTurn([])])

    async with aclosing(run(conversation, tools, 5)) as events:
        first = asyncio.ensure_future(anext(events))
        await tools.all_run()
        finished = []
        for name in ("3", "1", "2"):
            tools.gates[name].set()
            event = await (first if name == "3" else anext(events))
            assert isinstance(event, CallFinished)
            finished.append(event.call.id)
        rest = [event async for event in events]

    assert finished == ["3", "1", "2"]
    assert [RunFinished(2, "model")] == rest
    assert [name for name, _ in conversation.outcomes] == ["1", "2", "3"]


async def test_calls_wait_while_as_many_run_as_may_at_once() -> None:
    tools = GatedTools("1", "2")
    conversation = ScriptedConversation([ScriptedTurn([], [call("1"), call("2"), call("3")]), ScriptedTurn([])])

    async with aclosing(run(conversation, tools, 5, at_once=2)) as events:
        first = asyncio.ensure_future(anext(events))
        await tools.all_run()
        tools.gates["3"] = asyncio.Event()
        tools.gates["1"].set()
        tools.running.discard("1")
        tools.gates.pop("1")
        await first
        await tools.all_run()

    assert tools.cancelled == {"2", "3"}


async def test_the_calls_of_the_last_permitted_turn_still_run() -> None:
    conversation = ScriptedConversation([ScriptedTurn(["x"], [call("1")])])

    events = [event async for event in run(conversation, EchoTools(), 2)]

    assert conversation.asked == 2
    assert sum(isinstance(event, CallFinished) for event in events) == 2
    assert RunFinished(2, "iteration_limit") == events[-1]


async def test_a_turn_that_others_have_to_answer_is_the_last_once_its_calls_have_run() -> None:
    conversation = ScriptedConversation([ScriptedTurn(["x"], [call("1")], is_last=True)])

    events = [event async for event in run(conversation, EchoTools(), 5)]

    assert conversation.outcomes == [("1", "arguments of 1")]
    assert RunFinished(1, "model") == events[-1]


async def test_calls_with_one_id_each_get_their_own_result() -> None:
    twice = [ToolCall("same", "tool", "first"), ToolCall("same", "tool", "second")]
    conversation = ScriptedConversation([ScriptedTurn([], twice), ScriptedTurn([])])

    async for _ in run(conversation, EchoTools(), 5):
        pass

    assert conversation.outcomes == [("same", "first"), ("same", "second")]


async def test_closing_the_run_ends_the_model_call() -> None:
    turn = ScriptedTurn(["a", "b"])

    async with aclosing(run(ScriptedConversation([turn]), EchoTools(), 5)) as events:
        assert Streamed("a") == await anext(events)

    assert turn.closed


async def test_closing_the_run_cancels_calls_that_still_run() -> None:
    tools = GatedTools("1", "2")
    conversation = ScriptedConversation([ScriptedTurn([], [call("1"), call("2")])])

    async with aclosing(run(conversation, tools, 5)) as events:
        first = asyncio.ensure_future(anext(events))
        await tools.all_run()
        tools.gates["1"].set()
        await first

    assert {"2"} == tools.cancelled


async def test_cancelling_the_run_cancels_calls_that_still_run() -> None:
    tools = GatedTools("1", "2")
    conversation = ScriptedConversation([ScriptedTurn([], [call("1"), call("2")])])

    async def consume() -> None:
        async with aclosing(run(conversation, tools, 5)) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(consume())
    await tools.all_run()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert {"1", "2"} == tools.cancelled


async def test_what_the_model_raises_ends_the_run() -> None:
    class Failing(ScriptedTurn):
        async def batches(self) -> AsyncGenerator[str]:
            yield "a"
            raise ValueError("gone")

    events = run(ScriptedConversation([Failing([])]), EchoTools(), 5)
    assert Streamed("a") == await anext(events)

    with pytest.raises(ValueError, match="gone"):
        await anext(events)
