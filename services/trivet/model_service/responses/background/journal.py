"""Stores what a run says while it goes on saying more."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from trivet.kernel.errors import Overloaded
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model_service.domain.store import Change, ResponseStore, StoredEvents
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.keeping.records import PIECE_BYTES, stored_events

_TOGETHER: Final = 64
"""Events that are stored as one at most, and as soon as they are there."""

_SECONDS: Final = 0.05
"""The longest that an event waits for others to be stored with."""

_MOST: Final = 16 * _TOGETHER
"""Events that wait when the store is slow; beyond, the run waits with them."""


class Lost(Exception):  # noqa: N818 - says what happened
    """The run is not ours any more: its claim is another's, its response is gone, or the store can't be reached.

    Nothing that was said since is stored. Whoever claims the response next goes on from what is.
    """


class Journal:
    """The events of one response from the number `first` on; one commit at a time, and nothing after one that failed."""

    def __init__(self, store: ResponseStore, announcements: Announcements, response_id: str, runner: str) -> None:
        self._store = store
        self._announcements = announcements
        self._response_id = response_id
        self._runner = runner
        self._next = 0
        self._waiting: list[ResponseEvent] = []
        self._some = asyncio.Event()
        self._many = asyncio.Event()
        self._turn = asyncio.Lock()
        self._commits: set[asyncio.Task[None]] = set()
        self._lost = False

    def continue_after(self, number: int) -> None:
        """What is said first follows the event with this number."""
        self._next = number + 1

    async def say(self, events: Sequence[ResponseEvent]) -> None:
        """Have events stored soon. Raises Lost."""
        self._waiting.extend(events)
        self._some.set()
        if len(self._waiting) >= _TOGETHER:
            self._many.set()
        if len(self._waiting) >= _MOST:
            await self.commit()

    async def commit(
        self, steps: Mapping[str, bytes] | None = None, *, last: Sequence[ResponseEvent] = (), **changes: Any
    ) -> None:
        """Have all that was said stored now, and `last` together with more of a `Change`, never the one without the other.

        Raises Lost.
        """
        # A task, which goes on when who waits for it is cancelled: nobody could tell whether it was done, and what follows
        # must not be stored without it.
        commit = asyncio.create_task(self._commit(steps or {}, last, changes))
        self._commits.add(commit)
        commit.add_done_callback(self._forget)
        await asyncio.shield(commit)

    async def keep_up(self) -> None:
        """Store what is said, until cancelled. Raises Lost."""
        while True:
            await self._some.wait()
            try:
                async with asyncio.timeout(_SECONDS):
                    await self._many.wait()
            except TimeoutError:
                pass
            if self._waiting:
                await self.commit()

    async def _commit(self, steps: Mapping[str, bytes], last: Sequence[ResponseEvent], changes: Mapping[str, Any]) -> None:
        async with self._turn:
            if self._lost:
                raise Lost
            events, self._waiting = [*self._waiting, *last], []
            self._some.clear()
            self._many.clear()
            # Until it is known to be stored, it is taken to be lost.
            self._lost = True
            change = Change(events=batches(events, self._next), steps=steps, **changes)
            try:
                made = await self._store.change(self._response_id, change, runner=self._runner)
            except Overloaded as error:
                raise Lost from error
            if not made:
                raise Lost
            self._lost = False
            self._next += len(events)
        self._announcements.announce(self._response_id)

    def _forget(self, commit: asyncio.Task[None]) -> None:
        self._commits.discard(commit)
        if not commit.cancelled():
            # Who waited for it may have been cancelled: then nobody else looks.
            commit.exception()


def batches(events: Iterable[ResponseEvent], first: int) -> list[StoredEvents]:
    """Events as they are stored, the first with the number `first`."""
    made: list[StoredEvents] = []
    together: list[ResponseEvent] = []
    size = 0
    for event in events:
        if together and (len(together) == _TOGETHER or size + event.ByteSize() > PIECE_BYTES):
            made.append(stored_events(together, first))
            first, together, size = first + len(together), [], 0
        together.append(event)
        size += event.ByteSize()
    return [*made, stored_events(together, first)] if together else made
