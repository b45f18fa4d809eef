"""Stands for what plans and makes responses: a test says what is made, and when it goes on."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tests.model.responses import kept, recorded
from tests.model.responses.kept import OWNER
from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import StoredResponse
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.assembly import Assembly, TurnSplice
from trivet.model_service.responses.background.follower import Follower
from trivet.model_service.responses.background.runs import Runs
from trivet.model_service.responses.keeping.records import response_of
from trivet.model_service.responses.plan import Plan
from trivet.model_service.settings import BackgroundSettings, StoreSettings

Said: TypeAlias = "list[ResponseEvent] | Remembered"
Script = Callable[[Plan, Assembly, Mapping[str, bytes]], AsyncGenerator[Said]]


@dataclass(frozen=True)
class Remembered:
    """A step."""

    name: str
    data: bytes


class Planner:
    """Plans what was asked, without a history; `fails` is raised instead."""

    def __init__(self) -> None:
        self.fails: Exception | None = None

    async def again(self, stored: StoredResponse) -> Plan:
        if self.fails is not None:
            raise self.fails
        return Plan(stored.owner, CreateResponseRequest.FromString(stored.request), response_of(stored), [], [])


class Maker:
    """Makes one turn after the other by the scripts of a test, the last of them again and again; counts what runs.

    `made` has the steps that each was begun with.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.made: list[dict[str, bytes]] = []
        self.running = 0
        self.most = 0
        self._changed = asyncio.Condition()

    async def make(self, plan: Plan, assembly: Assembly, steps: Mapping[str, bytes]) -> AsyncGenerator[Said]:
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        await self._count(1, steps)
        try:
            yield assembly.begin() + assembly.close_interrupted()
            async for said in script(plan, assembly, steps):
                yield said
        finally:
            await asyncio.shield(self._count(-1))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the counts to be so."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(condition)

    async def _count(self, change: int, steps: Mapping[str, bytes] | None = None) -> None:
        async with self._changed:
            self.running += change
            self.most = max(self.most, self.running)
            if steps is not None:
                self.made.append(dict(steps))
            self._changed.notify_all()


def turn(gate: asyncio.Event | None = None, at: int = 12, *, remembered: Remembered | None = None) -> Script:
    """A turn with every kind of item, which waits at a gate after some events, and then perhaps has a step."""

    async def script(_plan: Plan, assembly: Assembly, _steps: Mapping[str, bytes]) -> AsyncGenerator[Said]:
        splice = TurnSplice(assembly)
        events = splice.pass_on(recorded.rendered())
        yield events[:at]
        if remembered is not None:
            yield remembered
        if gate is not None:
            await gate.wait()
        for event in events[at:]:
            yield [event]
        assert splice.response is not None
        yield assembly.end(splice.response)

    return script


def failing(error: Exception, at: int = 12) -> Script:
    """A turn that breaks off with an error."""

    async def script(_plan: Plan, assembly: Assembly, _steps: Mapping[str, bytes]) -> AsyncGenerator[Said]:
        yield TurnSplice(assembly).pass_on(recorded.rendered())[:at]
        raise error

    return script


NEVER = asyncio.Event
"""Makes a gate that nobody opens."""


def plan(owner: str = OWNER, **changes: Any) -> Plan:
    """What a caller asks for."""
    request = codec_for(CreateResponseRequest).decode({"model": "lab/fast", "input": "hi", "background": True, **changes})
    return Plan(owner, request, recorded.told(**changes), [], [])


@dataclass
class Process:
    """One process of those that share a store."""

    store: SqlStore
    runs: Runs
    follower: Follower
    planner: Planner
    maker: Maker
    settings: dict[str, Any] = field(default_factory=dict)


def process(store: SqlStore, maker: Maker, name: str = "one", **settings: Any) -> Process:
    """A process that does nothing yet in the background."""
    announcements, planner = Announcements(), Planner()
    background = BackgroundSettings.model_validate({"poll_seconds": 0.1, **settings})
    keeping = StoreSettings(claim_seconds=60.0)
    runs = Runs(store, planner, maker, announcements, background, keeping=keeping, runner=name)
    return Process(store, runs, Follower(store, announcements), planner, maker)


@asynccontextmanager
async def working(folder: Path, maker: Maker, name: str = "one", **settings: Any) -> AsyncIterator[Process]:
    """A process with a connection of its own to the store in this folder, that works in the background."""
    async with kept.sqlite(folder) as store:
        made = process(store, maker, name, **settings)
        async with made.runs.working():
            yield made
