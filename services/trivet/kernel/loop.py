"""The agent loop: model turn, tool calls, model turn, until the model has its answer or the limit is reached.

The loop knows neither chat chunks nor MCP. It drives two ports: a `Conversation`, which asks the model and remembers what was
said, and a `ToolBox`, which runs calls. Whatever the model streams passes through untouched as batches of type `B`, so that
every face that runs tools by itself uses this one loop.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeVar

B = TypeVar("B", covariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for. `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a call gave, as text that the model can read; a failure says so in its content."""

    content: str
    is_error: bool = False


class Turn(Protocol[B]):
    """One model call. `calls` and `is_last` are as they stay once `batches` has ended."""

    @property
    def calls(self) -> Sequence[ToolCall]:
        """The calls to run: none when the model gave its answer, or was cut off."""
        ...

    @property
    def is_last(self) -> bool:
        """Whether the run ends when the calls have run: somebody else has to answer first."""
        ...

    def batches(self) -> AsyncGenerator[B]:
        """What the model streams, as it comes. Closing the iterator ends the model call."""
        ...


class Conversation(Protocol[B, R_contra]):
    """What was said so far, and the model that goes on with it."""

    def turn(self) -> Turn[B]:
        """Begin a model call on the conversation so far."""
        ...

    def add_outcome(self, call: ToolCall, outcome: R_contra) -> None:
        """Take the result of a call of the last turn into the conversation."""
        ...


class ToolBox(Protocol[R_co]):
    """Runs tool calls. A call that fails has an outcome that says so; it never raises."""

    async def call(self, call: ToolCall) -> R_co: ...


@dataclass(frozen=True, slots=True)
class Streamed(Generic[B]):
    """The model streamed something."""

    batch: B


@dataclass(frozen=True, slots=True)
class CallFinished(Generic[R]):
    """A tool call finished."""

    call: ToolCall
    outcome: R


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run ended, after so many model calls."""

    iterations: int
    stopped_by: Literal["model", "iteration_limit"]


LoopEvent = Streamed[B] | CallFinished[R] | RunFinished


MOST_AT_ONCE: Final = 16
"""The most tool calls of a run at the same time, where nobody says otherwise."""


async def run(
    conversation: Conversation[B, R], tools: ToolBox[R], limit: int, at_once: int = MOST_AT_ONCE
) -> AsyncGenerator[LoopEvent[B, R]]:
    """Run the loop with at most `limit` model calls, yielding what happens as it happens; the last event is RunFinished.

    The calls of a turn run in parallel, at most `at_once` at the same time, and their results are yielded in the order in which
    they finish; the model reads them in the order in which it asked. The calls of a turn that is the last still run. Whatever the conversation raises ends the
    run; closing the iterator ends the model call and cancels running tool calls.
    """
    for iteration in range(1, limit + 1):
        turn = conversation.turn()
        batches = turn.batches()
        try:
            async for batch in batches:
                yield Streamed(batch)
        finally:
            await batches.aclose()
        if not turn.calls:
            yield RunFinished(iteration, "model")
            return
        if len(turn.calls) == 1:  # as most turns have it: there is nothing to do beside it
            (call,) = turn.calls
            outcome = await tools.call(call)
            yield CallFinished(call, outcome)
            conversation.add_outcome(call, outcome)
        else:
            outcomes: dict[int, R] = {}
            async with aclosing(_finishing(tools, turn.calls, at_once)) as finishing:
                async for position, outcome in finishing:
                    outcomes[position] = outcome
                    yield CallFinished(turn.calls[position], outcome)
            for position, call in enumerate(turn.calls):
                conversation.add_outcome(call, outcomes[position])
        if turn.is_last:
            yield RunFinished(iteration, "model")
            return
    yield RunFinished(limit, "iteration_limit")


async def _finishing(tools: ToolBox[R], calls: Sequence[ToolCall], at_once: int) -> AsyncGenerator[tuple[int, R]]:
    """Start the calls, and yield the position and the outcome of each as it finishes."""
    free = asyncio.Semaphore(at_once)

    async def called(call: ToolCall) -> R:
        async with free:
            return await tools.call(call)

    running = {asyncio.create_task(called(call)): position for position, call in enumerate(calls)}
    try:
        pending = set(running)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=running.__getitem__):
                yield running[task], task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
