"""Responses that are made in the background: queued, claimed by one of the processes that share the store, cancelled."""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from trivet.kernel.chain import CLEANUP_SECONDS
from trivet.kernel.detached import Caller
from trivet.kernel.errors import InvalidRequest, Overloaded, RateLimited, ResponseNotFound
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.store import Change, Store, StoredResponse
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.background.endings import Endings
from trivet.model_service.responses.background.journal import batches
from trivet.model_service.responses.background.run import Making, Planning, Run, Surroundings, with_caller
from trivet.model_service.responses.keeping.records import ENDED, response_of
from trivet.model_service.responses.plan import Plan, record_of
from trivet.model_service.settings import BackgroundSettings, StoreSettings

_log = logging.getLogger("trivet.runs")

_RETRY_SECONDS: Final = 5.0
"""When there may be room in a queue that was full."""

_CANCELS: Final = 5
"""How often a cancelled response is taken from others who take it from us, before we give up."""

_DIED: Final = Overloaded("The server ended while it made the response.")


class Runs:
    """The background of one process. `runner` is the name by which it claims responses of the foreground."""

    def __init__(
        self,
        store: Store,
        planner: Planning,
        maker: Making,
        announcements: Announcements,
        settings: BackgroundSettings,
        *,
        keeping: StoreSettings,
        runner: str,
    ) -> None:
        self._store = store
        self._settings = settings
        self._keeping = keeping
        self._runner = runner
        self._endings = Endings(store, announcements)
        self._around = Surroundings(store, planner, maker, announcements, settings, keeping.claim_seconds)
        self._woken = asyncio.Event()
        self._free = asyncio.Semaphore(settings.max_running)
        self._running: dict[asyncio.Task[None], Run] = {}
        # What is on its way into the queue, with its owner.
        self._coming: dict[asyncio.Future[None], str] = {}
        self._claiming: asyncio.Task[None] | None = None

    # ---- what callers ask for --------------------------------------------------------------------------------------

    async def start(self, plan: Plan) -> Response:
        """The response, queued.

        Raises:
            RateLimited: too much is queued.
            Overloaded: the store cannot be reached.
        """
        assembly = Assembly(plan.told)
        events = assembly.begin(queued=True)
        record = record_of(plan, plan.told, streamed=True)
        sealed = replace(record, request=with_caller(record.request, Caller.current()))
        before = dict(self._coming)
        came = asyncio.get_running_loop().create_future()
        self._coming[came] = plan.owner
        try:
            await self._admit(plan.owner, before)
            await self._store.add(sealed, Change(events=batches(events, 0)))
        finally:
            del self._coming[came]
            came.set_result(None)
        self._woken.set()
        return assembly.response

    async def cancel(self, response_id: str, owner: str) -> Response:
        """The response, which has ended: now, or before.

        Raises:
            ResponseNotFound: the owner has no such response.
            InvalidRequest: it was not made in the background.
            Overloaded: the store cannot be reached.
        """
        for _ in range(_CANCELS):
            stored = await self._store.get(response_id, owner)
            if stored is None:
                raise ResponseNotFound(response_id)
            if not stored.background:
                raise InvalidRequest("Only a response that is made in the background can be cancelled.", "response_id")
            if stored.status in ENDED:
                return response_of(stored)
            if response := await self._cancelled(stored):
                return response
        raise Overloaded("The response could not be cancelled; try again.")

    async def _admit(self, owner: str, before: Mapping[asyncio.Future[None], str]) -> None:
        """Refuse what is too much; `before` is what was on its way already, and may not be in the queue yet."""
        of_all, of_owner = await self._store.waiting(owner)
        most, most_of_owner = self._settings.max_queued, self._settings.max_queued_per_key
        coming = sum(one == owner for one in before.values())
        if before and (of_all + len(before) >= most or of_owner + coming >= most_of_owner):
            # Some may be counted twice. Once each of them is in the queue, or was refused, none is.
            await asyncio.wait(before)
            of_all, of_owner = await self._store.waiting(owner)
        if of_owner >= most_of_owner:
            raise RateLimited("Too many of your responses wait to be made in the background.", retry_after=_RETRY_SECONDS)
        if of_all >= most:
            raise RateLimited("Too many responses wait to be made in the background.", retry_after=_RETRY_SECONDS)

    async def _cancelled(self, stored: StoredResponse) -> Response | None:
        taker = self._new_name()
        if not await self._store.take(stored.id, taker):
            return None
        for task, run in self._running.items():
            if run.response_id == stored.id:
                task.cancel()
        return await self._endings.end(stored, taker, Assembly.cancel)

    # ---- what goes on by itself ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Make queued responses, and do what else has to be done from time to time; at the end, hand over what is not done."""
        claim_seconds = self._keeping.claim_seconds
        self._claiming = asyncio.create_task(_every(self._settings.poll_seconds, self._claim))
        chores = [
            asyncio.create_task(_every(claim_seconds / 3, self._renew)),
            asyncio.create_task(_every(claim_seconds, self._end_strays)),
            asyncio.create_task(_every(self._keeping.sweep_seconds, self._sweep)),
        ]
        try:
            yield
        finally:
            await self.hand_over()
            await _ended(chores)

    async def hand_over(self) -> None:
        """Begin no more, and leave what is being made to others; the other chores go on as long as `working` is entered.

        What is being made is cancelled before this first waits: nothing that it calls may be told to stop any earlier.
        """
        claiming = [] if self._claiming is None else [self._claiming]
        await _ended([*claiming, *self._running])

    async def _claim(self) -> None:
        """Claim responses as long as there is room for them."""
        while True:
            await self._free.acquire()
            try:
                run = await self._next()
            except BaseException:
                self._free.release()
                raise
            task = asyncio.create_task(run.work())
            self._running[task] = run
            task.add_done_callback(self._done)

    async def _next(self) -> Run:
        while True:
            self._woken.clear()
            runner = self._new_name()
            try:
                stored = await self._store.claim(runner, self._settings.max_running_per_key)
            except asyncio.CancelledError:
                # It may have been claimed, and nobody was told.
                with suppress(Overloaded):
                    await self._store.release(runner)
                raise
            except Overloaded:
                # The store says in the log that it is away, and may be back the next time.
                stored = None
            if stored is not None:
                return Run(self._around, stored, runner)
            await self._pause()

    async def _pause(self) -> None:
        """Until something was queued here, or it is time to look what others have queued or left."""
        try:
            # Not all processes at the same time.
            async with asyncio.timeout(self._settings.poll_seconds * random.uniform(0.5, 1.5)):  # noqa: S311 - no secret
                await self._woken.wait()
        except TimeoutError:
            return

    def _done(self, task: asyncio.Task[None]) -> None:
        run = self._running.pop(task)
        self._free.release()
        # There may be room for another of the same key.
        self._woken.set()
        if not task.cancelled() and (error := task.exception()):
            _log.error("%s is left where it is", run.response_id, exc_info=error)

    async def _renew(self) -> None:
        await self._store.renew(self._runner)

    async def _end_strays(self) -> None:
        """End what processes that are no more were answering in the foreground: nobody waits for it."""
        # After a store that was away for longer than a claim lasts: what this process answers itself is no stray.
        await self._renew()
        while stored := await self._store.claim_stray(taker := self._new_name()):
            _log.warning("%s was left behind by a process that ended", stored.id)
            await self._endings.end(stored, taker, lambda assembly: assembly.fail(_DIED))

    async def _sweep(self) -> None:
        if removed := await self._store.sweep():
            _log.info("%d responses have expired", removed)

    def _new_name(self) -> str:
        # One for each claim, and not one for the process: what was taken from us and comes back is somebody else's then.
        return f"{self._runner}/{secrets.token_hex(8)}"


async def _every(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await chore()
        except Exception:  # noqa: BLE001 - a supervised task: the next time it may do
            _log.exception("%s failed", chore.__qualname__)
        # Not all processes at the same time.
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311 - no secret


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLEANUP_SECONDS)
