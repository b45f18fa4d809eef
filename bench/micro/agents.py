"""The agent loop's own cost: a run of two turns with one call between them, where model and tool answer at once."""

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import pyperf
import uvloop

from trivet.kernel.loop import ToolCall, ToolOutcome, run

_CALL = ToolCall("call_1", "echo", '{"text":"legs"}')
_OUTCOME = ToolOutcome("legs")


@dataclass
class Turn:
    """A turn that streams one thing."""

    calls: Sequence[ToolCall] = ()
    is_last: bool = False

    async def batches(self) -> AsyncGenerator[str]:
        yield "something"


@dataclass
class Conversation:
    """Asks for the call first."""

    outcomes: list[ToolOutcome] = field(default_factory=list)

    def turn(self) -> Turn:
        return Turn() if self.outcomes else Turn((_CALL,))

    def add_outcome(self, call: ToolCall, outcome: ToolOutcome) -> None:
        self.outcomes.append(outcome)


class Tools:
    """Answer at once."""

    async def call(self, call: ToolCall) -> ToolOutcome:
        return _OUTCOME


def add_to(runner: pyperf.Runner) -> None:
    """Add the benchmark."""
    runner.bench_time_func("agent loop: two turns, one call", lambda loops: uvloop.run(_cpu_seconds(loops)))


async def _cpu_seconds(loops: int) -> float:
    tools = Tools()
    began = time.process_time()
    for _ in range(loops):
        async for _ in run(Conversation(), tools, limit=5):
            pass
    return time.process_time() - began
