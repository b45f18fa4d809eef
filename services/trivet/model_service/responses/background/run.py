"""One run of a response in the background, from the claim on it to its end, or until the claim is lost."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import orjson

from trivet.kernel.detached import Caller
from trivet.kernel.errors import InternalError, Overloaded, RequestTimeout, ServiceError, restore
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.store import Store, StoredResponse
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.background.endings import Endings, expiry, restored
from trivet.model_service.responses.background.journal import Journal, Lost
from trivet.model_service.responses.item_ids import item_ids
from trivet.model_service.responses.keeping.recording import items_of
from trivet.model_service.responses.plan import Plan
from trivet.model_service.settings import BackgroundSettings

_log = logging.getLogger("trivet.runs")

_TAKE_UPS: Final = "take_ups"
"""The step in which is counted how often a response was taken up."""


class Planning(Protocol):
    """Plans a response that is stored."""

    async def again(self, stored: StoredResponse) -> Plan:
        """See `Planner`."""
        ...


class Step(Protocol):
    """What a maker wants to be remembered, together with every event so far, before it goes on."""

    @property
    def name(self) -> str:
        """Under which it is remembered."""
        ...

    @property
    def data(self) -> bytes:
        """What is remembered."""
        ...


class Making(Protocol):
    """Makes what was planned."""

    def make(self, plan: Plan, assembly: Assembly, steps: Mapping[str, bytes]) -> AsyncGenerator[list[ResponseEvent] | Step]:
        """See `ResponseMaker`."""
        ...


@dataclass(frozen=True, slots=True)
class TakeUps:
    """How often a response was taken up since it had this many finished items, and when first, in seconds since 1970."""

    count: int = 0
    items: int = 0
    began: float = 0.0

    @classmethod
    def unpack(cls, packed: bytes | None) -> "TakeUps":
        """From the step; none yet without one."""
        return cls(**orjson.loads(packed)) if packed else cls(began=time.time())

    def pack(self) -> dict[str, bytes]:
        """As a step."""
        return {_TAKE_UPS: orjson.dumps({"count": self.count, "items": self.items, "began": self.began})}

    def another(self, items: int) -> "TakeUps":
        """One more. With more items than the last time it is the first: what gets on is not counted."""
        return replace(self, count=1 + (self.count if items == self.items else 0), items=items)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all runs of a process share; a claim lasts for `claim_seconds`."""

    store: Store
    planner: Planning
    maker: Making
    announcements: Announcements
    settings: BackgroundSettings
    claim_seconds: float


class Run:
    """A stored response that `runner` has claimed: a name that nobody else has, and that stands for this run alone."""

    def __init__(self, surroundings: Surroundings, stored: StoredResponse, runner: str) -> None:
        self.response_id = stored.id
        self._around = surroundings
        self._stored = stored
        self._runner = runner
        self._journal = Journal(surroundings.store, surroundings.announcements, stored.id, runner)
        self._before: TakeUps | None = None

    async def work(self) -> None:
        """Make the response. Cancelled, hand over what there is to whoever claims it next."""
        try:
            await self._work()
        except asyncio.CancelledError:
            await self._hand_over()
            raise

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._journal.keep_up()), group.create_task(self._renew())]
                await self._to_the_end()
                for task in beside:
                    task.cancel()
        except* Lost as lost:
            why = lost.exceptions[0].__cause__ or "the claim on it is lost, or it is gone"
            _log.info("%s is left to others: %s", self.response_id, why)

    async def _to_the_end(self) -> None:
        limit = asyncio.timeout(None)
        try:
            async with limit:
                await self._take_up(limit)
        except Lost:
            raise
        except ServiceError as error:
            await self._fail(error)
        except Exception as error:  # noqa: BLE001 - a supervised task: whatever went wrong, the response has to end
            if limit.expired() and isinstance(error, TimeoutError):
                seconds = self._around.settings.max_seconds
                await self._fail(RequestTimeout(f"The response was not finished within {seconds:g} seconds."))
            else:
                _log.exception("%s failed", self.response_id)
                await self._fail(InternalError())

    async def _take_up(self, limit: asyncio.Timeout) -> None:
        settings = self._around.settings
        caller, request = without_caller(self._stored.request)
        try:
            assembly = await restored(self._around.store, self._stored)
            steps = dict(await self._around.store.steps(self.response_id))
            self._journal.continue_after(assembly.last_number)
            now = await self._count(assembly, steps.pop(_TAKE_UPS, None))
        except Overloaded as error:
            # The store is away. Who claims the response when it is back has more luck.
            raise Lost from error
        seconds = now.began + settings.max_seconds - time.time()
        limit.reschedule(asyncio.get_running_loop().time() + seconds)
        with caller.goes_on(seconds):
            await self._make(await self._plan(request), assembly, steps)

    async def _plan(self, request: bytes) -> Plan:
        try:
            return await self._around.planner.again(replace(self._stored, request=request))
        except Overloaded as error:
            raise Lost from error  # the store, as above

    async def _count(self, assembly: Assembly, packed: bytes | None) -> TakeUps:
        """Begin or go on, if it was not tried too often."""
        self._before = TakeUps.unpack(packed)
        now = self._before.another(_finished(assembly.response))
        if now.count > (most := self._around.settings.max_attempts):
            told = f"The response was given up: {most} times in a row the server ended while it made the same part of it."
            raise restore(InternalError.reason, told)
        await self._journal.say(assembly.begin())
        await self._journal.commit(now.pack(), status="in_progress", response=assembly.response.SerializeToString())
        return now

    async def _make(self, plan: Plan, assembly: Assembly, steps: Mapping[str, bytes]) -> None:
        async with aclosing(self._around.maker.make(plan, assembly, steps)) as making:
            async for said in making:
                if not isinstance(said, list):
                    await self._journal.commit({said.name: said.data})
                elif assembly.ended:
                    await self._end(plan, assembly, said)
                    return
                else:
                    await self._journal.say(said)
        raise RuntimeError("the response was not ended")

    async def _end(self, plan: Plan, assembly: Assembly, said: list[ResponseEvent]) -> None:
        response = assembly.response
        await self._journal.commit(
            last=said,
            status=response.status,
            response=response.SerializeToString(),
            items=items_of(plan, response),
            expires_at=expiry(self._stored),
            item_ids=item_ids(response.output),
        )

    async def _fail(self, error: ServiceError) -> None:
        """End the response with an error, all that was said before it being kept."""
        await self._journal.commit()
        endings = Endings(self._around.store, self._around.announcements)
        try:
            await endings.end(self._stored, self._runner, lambda assembly: assembly.fail(error))
        except Overloaded as unstored:
            raise Lost from unstored

    async def _renew(self) -> None:
        """Keep the claim. Raises Lost."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while loop.time() < renewed + self._around.claim_seconds:
            await asyncio.sleep(self._around.claim_seconds / 3)
            begun = loop.time()
            try:
                claimed = await self._around.store.renew(self._runner)
            except Overloaded:
                # The store may be back before the claim ends.
                continue
            if self.response_id not in claimed:
                break
            renewed = begun
        raise Lost

    async def _hand_over(self) -> None:
        """Keep what was said, and let others go on at once; that it was taken up here does not count."""
        # With the store away the claim ends by itself.
        with suppress(Lost, Overloaded):
            await self._journal.commit(self._before.pack() if self._before else None)
            await self._around.store.release(self._runner)


def _finished(response: Response) -> int:
    """How many items of the output were not broken off."""
    bodies: list[Any] = [getattr(item, item.WhichOneof("kind") or "unknown") for item in response.output]
    return sum(getattr(body, "status", "") != "incomplete" for body in bodies)


def with_caller(request: bytes, caller: Caller) -> bytes:
    """A request to be kept sealed, together with who sent it."""
    return caller.pack() + b"\n" + request


def without_caller(kept: bytes) -> tuple[Caller, bytes]:
    """Who sent a request, and the request; nobody and nothing if it can't be read any more."""
    packed, _, request = kept.partition(b"\n")
    return (Caller.unpack(packed) if packed else Caller()), request
