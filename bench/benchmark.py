"""The benchmark: what is measured, in which order, and what comes out."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bench.load.client import Broken
from bench.measures.agent_run import agent_run
from bench.measures.cold_start import cold_start, import_seconds
from bench.measures.latency import added
from bench.measures.memory import settle, under_streams
from bench.measures.warmth import warm
from bench.measures.work import cost
from bench.processes import Ended
from bench.report.results import Results
from bench.site import Neighbours, Running, answering, neighbours
from bench.targets.target import Face, Target
from bench.upstream.scripts import BURST, PACED, PLAIN, Script

_T = TypeVar("_T")


@dataclass(frozen=True)
class Load:
    """A script, over how many connections, and for how long it is watched in each round."""

    name: str
    script: Script
    connections: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    faces: Sequence[Face]
    loads: Sequence[Load]
    rounds: int
    latency_requests: int
    agent_runs: int
    streams: Sequence[int]
    fresh_starts: int
    """How often each target is started once more, alone, to see its start, its imports and its memory."""


FULL = Plan(
    faces=("chat", "responses"),
    # Of the paced streams, twice their length: each begins as often as it ends in it.
    loads=(Load("plain", PLAIN, 8, 3.0), Load("burst", BURST, 4, 3.0), Load("paced", PACED, 64, 4.0)),
    rounds=5,
    latency_requests=1000,
    agent_runs=200,
    streams=(1, 100, 1000),
    fresh_starts=2,
)
QUICK = Plan(
    faces=("chat", "responses"),
    loads=(Load("plain", PLAIN, 8, 0.8), Load("burst", BURST, 4, 0.8), Load("paced", PACED, 64, 2.0)),
    rounds=1,
    latency_requests=60,
    agent_runs=20,
    streams=(1, 100),
    fresh_starts=0,
)


class Benchmark:
    """One sitting."""

    def __init__(self, plan: Plan, targets: Sequence[Target], peers: Path, results: Results) -> None:
        self._plan = plan
        self._targets = targets
        self._peers = peers
        self._results = results
        self._began = time.monotonic()

    def run(self) -> None:
        """Measure everything. What fails is told in the results, and the rest goes on."""
        with neighbours(self._peers) as around:
            with contextlib.ExitStack() as stack:
                runs = [one for target in self._targets if (one := self._start(stack, target, around))]
                self._measure_work(runs, around)
                for one in runs:
                    self._measure_latency(one, around)
                    self._measure_agents(one, around)
                if not self._plan.fresh_starts:
                    for one in runs:
                        self._measure_memory(one)
            # What a target has in memory, and how it starts, is best seen with new processes, one target at a time.
            for target in [one.target for one in runs]:
                self._measure_fresh_starts(target, around)

    def _start(self, stack: contextlib.ExitStack, target: Target, around: Neighbours, number: int = 0) -> Running | None:
        self._tell(f"starting {target.name}")
        one = self._tried("start", target.name, lambda: stack.enter_context(answering(target, around.site(target.name))))
        if one:
            self._keep("cold_start", target.name, str(number), partial(cold_start, one))
            self._tried("warm", target.name, partial(warm, one))
        return one

    def _measure_work(self, runs: Sequence[Running], around: Neighbours) -> None:
        """Round after round, and in each all targets by turns: what disturbs the machine for a while hits them alike."""
        for number in range(self._plan.rounds):
            for load in self._plan.loads:
                for face in self._plan.faces:
                    self._tell(f"round {number + 1} of {self._plan.rounds}: {load.name}, {face}")
                    for one in runs:
                        if face in one.target.faces:
                            self._measure_cost(one, around, load, face)

    def _measure_cost(self, one: Running, around: Neighbours, load: Load, face: Face) -> None:
        seen = self._tried(
            f"work/{face}/{load.name}",
            one.target.name,
            lambda: cost(one, around.upstream, face, load.script, connections=load.connections, seconds=load.seconds),
        )
        if seen:
            self._results.add_round(one.target.name, face, load.name, dataclasses.asdict(seen))

    def _measure_latency(self, one: Running, around: Neighbours) -> None:
        self._tell(f"latency: {one.target.name}")
        for face in one.target.faces:
            if face in self._plan.faces:
                self._keep(
                    "latency",
                    one.target.name,
                    face,
                    partial(added, one, around.upstream, face, self._plan.latency_requests),
                )

    def _measure_agents(self, one: Running, around: Neighbours) -> None:
        for face in one.target.agents:
            self._tell(f"agent runs: {one.target.name}")
            self._keep("agent", one.target.name, face, partial(agent_run, one, around, face, self._plan.agent_runs))

    def _measure_fresh_starts(self, target: Target, around: Neighbours) -> None:
        for number in range(self._plan.fresh_starts):
            with contextlib.ExitStack() as stack:
                one = self._start(stack, target, around, number + 1)
                # The first of them has told all that there is to say of memory.
                if one and not number:
                    self._measure_memory(one)
        if self._plan.fresh_starts:
            self._keep("imports", target.name, "seconds", partial(import_seconds, target, around))

    def _measure_memory(self, one: Running) -> None:
        self._tell(f"memory: {one.target.name}")
        self._tried("settle", one.target.name, partial(settle, one))
        for count in self._plan.streams:
            self._keep("memory", one.target.name, str(count), partial(under_streams, one, count))

    def _keep(self, kind: str, target: str, key: str, measure: Callable[[], Any]) -> None:
        seen = self._tried(f"{kind}/{key}", target, measure)
        if seen is not None:
            # Several figures come as a dataclass, one comes as a number.
            self._results.add(kind, target, key, seen if isinstance(seen, int | float) else dataclasses.asdict(seen))

    def _tried(self, what: str, target: str, measure: Callable[[], _T]) -> _T | None:
        try:
            return measure()
        except (Broken, Ended, OSError, RuntimeError, ValueError) as error:
            self._results.add_failure(target, what, str(error))
            self._tell(f"{target}: {what} failed: {error}")
            return None

    def _tell(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {what}", file=sys.stderr, flush=True)
