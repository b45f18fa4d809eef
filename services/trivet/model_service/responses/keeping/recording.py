"""What one stream has said, on its way into the store."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from trivet.kernel.codec.runs import Continuation, More, runs_of
from trivet.kernel.errors import Overloaded, ServiceError
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.store import Change, Store, StoredEvents, StoredItem
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.item_ids import LONGEST, item_id, item_ids, new_item_id, set_item_id
from trivet.model_service.responses.keeping.records import PIECE_BYTES, all_events, stored_events, stored_item
from trivet.model_service.responses.plan import Plan, record_of

_log = logging.getLogger("trivet.model")

_FIRST_PAUSE: Final = 0.1
_LAST_PAUSE: Final = 0.8
"""Seconds between two writes: a short stream takes one transaction, a long one never many in a second."""

_ENOUGH: Final = 64 * 1024
"""Bytes that are written without waiting for the pause to end."""

_MOST: Final = 16 * 1024 * 1024
"""Bytes that wait for a store that is slow or away; with more of them the response is given up."""

_RUNS: Final = runs_of(ResponseEvent.DESCRIPTOR)

_ADDED_TO_CONVERSATIONS: Final = frozenset({"completed", "incomplete"})


def items_of(plan: Plan, response: Response) -> Sequence[StoredItem]:
    """What a response that has ended adds to its conversation: its input and its output."""
    if not response.HasField("conversation") or response.status not in _ADDED_TO_CONVERSATIONS:
        return ()
    taken = {item_id(item) for item in (*plan.history, *plan.input)}
    return [stored_item(item) for item in (*plan.input, *_apart(response, taken))]


def _apart(response: Response, taken: set[str]) -> Iterator[Item]:
    """The output, each item under an id of its own: some upstreams count them anew with each answer, or give none or a
    very long one."""
    for item in response.output:
        kept = item
        name = item_id(item)
        if not name or name in taken or len(name) > LONGEST:
            kept = Item()
            kept.CopyFrom(item)
            name = new_item_id(item.WhichOneof("kind") or "")
            set_item_id(kept, name)
        taken.add(name)
        yield kept


class _Said(NamedTuple):
    """Some events as they are stored: batches that are put together are a batch."""

    events: int
    data: bytes


def _pieces(waiting: Iterable[_Said], first: int) -> list[StoredEvents]:
    """The events as they are stored, the first with the number `first`."""
    made: list[StoredEvents] = []
    together: list[bytes] = []
    next_one, size = first, 0
    for said in waiting:
        if together and size + len(said.data) > PIECE_BYTES:
            made.append(StoredEvents(first, next_one - 1, b"".join(together)))
            first, together, size = next_one, [], 0
        together.append(said.data)
        next_one, size = next_one + said.events, size + len(said.data)
    return [*made, StoredEvents(first, next_one - 1, b"".join(together))] if together else made


class Recording:
    """Takes the batches of one stream, and writes them behind it; `finish` or `break_off` is its end.

    `begun`: it has taken something. `finished`: all of it is in the store, or was deleted by its owner.
    """

    def __init__(self, store: Store, announcements: Announcements, plan: Plan, runner: str) -> None:
        self._store = store
        self._announcements = announcements
        self._plan = plan
        self._runner = runner
        self._told = Response()
        self._continuation = Continuation()
        self._waiting: list[_Said] = []
        self._bytes = 0
        self._taken = 0
        self._written = 0
        self._added = False
        self._useless = False
        self._failing = False
        self._pause = _FIRST_PAUSE
        self._timer: asyncio.TimerHandle | None = None
        self._behind: asyncio.Task[None] | None = None
        self._last: asyncio.Task[None] | None = None
        self.begun = False
        self.finished = False

    def take(self, batch: ResponseEventBatch) -> None:
        """The next events; they are written soon."""
        if not self.begun:
            self.begun = True
            self._told.CopyFrom(batch.events[0].created.response)
        self._continuation.follow(batch)
        self._take(batch)

    def taking(self, more: More | None) -> More | None:
        """`more`, of which what it takes is taken here too."""
        if more is None:
            return None

        def taken(texts: list[str]) -> bool:
            batch = self._continuation.message(texts)
            if batch is None or not more(texts):
                return False
            self._take(batch)
            self._continuation.passed(len(texts))
            return True

        return taken

    def _take(self, batch: ResponseEventBatch) -> None:
        number = _RUNS.count(batch.events)
        self._taken += number
        if self._useless:
            return
        said = _Said(number, batch.SerializeToString())
        self._waiting.append(said)
        self._bytes += len(said.data)
        if self._bytes > _MOST:
            self._give_up("the store is too slow")
        elif self._behind is None:
            self._plan_to_write()

    async def finish(self, response: Response) -> bool:
        """Whether all that was taken is kept, up to the end, where the response stands as `response`."""
        self._last = asyncio.create_task(self._write_end(response))
        # The response is made: it is kept as that, even if its caller leaves now.
        await asyncio.shield(self._last)
        return self.finished

    async def break_off(self, error: ServiceError | None) -> bool:
        """End the response in the store where its stream was left: failed with `error`, or cancelled.

        Whether there is no more to do: not while the store is away, and has the beginning of the response.
        """
        if self._last is not None:
            await asyncio.wait([self._last])
        await self._settle()
        try:
            if self._waiting and not self.finished:
                await self._write(Change())
            if self._added and not self.finished:
                await self._end(error)
        except Exception as fault:  # noqa: BLE001 - a task that nobody awaits: the log is all that can tell what goes wrong
            # What is to be ended for good needs no more of what was said; it may take long until it is.
            self._waiting, self._bytes = [], 0
            if self._added and isinstance(fault, Overloaded):
                return False
            _log.exception("response %s: its end cannot be stored", self._told.id)
        return True

    async def _end(self, error: ServiceError | None) -> None:
        assembly = Assembly.restored(self._told, await all_events(self._store, self._told.id))
        number = assembly.last_number + 1
        said = [*assembly.close_interrupted(), *(assembly.fail(error) if error else assembly.cancel())]
        response = assembly.response
        told, items = response.SerializeToString(), item_ids(response.output)
        end = Change([stored_events(said, number)], status=response.status, response=told, item_ids=items)
        self.finished = await self._store.change(response.id, end, runner=self._runner)
        self._announcements.announce(response.id)

    # ---- writing behind --------------------------------------------------------------------------------------------

    def _plan_to_write(self) -> None:
        # A store that does not take it now is not asked again with each event.
        if self._bytes >= _ENOUGH and not self._failing:
            self._write_behind()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._write_behind)

    def _write_behind(self) -> None:
        self._stop_timer()
        self._behind = asyncio.create_task(self._write_waiting())

    async def _write_waiting(self) -> None:
        self._failing = not await self._try_to_write(Change())
        self._behind = None
        self._pause = min(2 * self._pause, _LAST_PAUSE)
        if self._waiting:
            self._plan_to_write()

    async def _settle(self) -> None:
        """Let what is being written be written, and write no more behind."""
        if self._behind is not None:
            await asyncio.wait([self._behind])
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- writing ---------------------------------------------------------------------------------------------------

    async def _write_end(self, response: Response) -> None:
        await self._settle()
        end = Change(
            status=response.status,
            response=response.SerializeToString(),
            items=items_of(self._plan, response),
            item_ids=item_ids(response.output),
        )
        written = not self._useless and await self._try_to_write(end)
        self.finished = self.finished or written

    async def _try_to_write(self, change: Change) -> bool:
        try:
            return await self._write(change)
        except Overloaded:
            # The store says in the log that it is away.
            return False
        except Exception:  # noqa: BLE001 - the stream goes on whatever happens here: it is tried again with what comes next
            _log.exception("response %s: %d bytes cannot be stored now", self._told.id, self._bytes)
            return False

    async def _write(self, change: Change) -> bool:
        """Write what waits, together with `change`; whether the response is still ours to write to."""
        waiting, size, end = self._waiting, self._bytes, self._taken
        self._waiting, self._bytes = [], 0
        try:
            written = await self._add_or_change(replace(change, events=_pieces(waiting, self._written)))
        except BaseException:
            self._waiting, self._bytes = waiting + self._waiting, size + self._bytes
            raise
        self._written = end
        self._announcements.announce(self._told.id)
        return written

    async def _add_or_change(self, change: Change) -> bool:
        if not self._added:
            await self._store.add(record_of(self._plan, self._told, streamed=True), change, runner=self._runner)
            self._added = True
            return True
        if await self._store.change(self._told.id, change, runner=self._runner):
            return True
        if await self._store.get(self._told.id, self._plan.owner) is None:
            self._useless = self.finished = True
        else:
            self._give_up("another process has ended it")
        return self.finished

    def _give_up(self, why: str) -> None:
        _log.error("response %s is not stored: %s", self._told.id, why)
        self._useless = True
        self._waiting, self._bytes = [], 0
