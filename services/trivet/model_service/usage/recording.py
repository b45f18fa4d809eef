"""Stores a record for each call, behind the calls: none waits for it, and none fails by it."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import fields, replace
from itertools import islice
from operator import attrgetter
from typing import Final

from trivet.kernel.errors import Overloaded
from trivet.model_service.domain.calls import CallObserver, CallRecord
from trivet.model_service.domain.identity import CountedIds
from trivet.model_service.domain.prices import may_have_cost
from trivet.model_service.domain.turn import Usage
from trivet.model_service.domain.usage import UsageRecord, UsageStore
from trivet.model_service.usage.price_book import PriceBook

_log = logging.getLogger("trivet.usage")

_GATHER_SECONDS: Final = 1.0
"""How long records are gathered, if they are few, so that many go into one transaction. What a killed process loses is of about this
time."""

_RETRY_SECONDS: Final = 1.0
"""Between two tries while the store is away."""

_AT_ONCE: Final = 512
"""A multiple of the rows that a statement inserts at most: each statement hands the interpreter over and waits to get it back."""

_LONGEST_NAME: Final = 256
_COUNTS: Final = attrgetter(*(field.name for field in fields(Usage)))
_MOST_TOKENS: Final = 10**12
"""No call has so many: an upstream that says so must not spoil the sums."""


class UsageRecorder(CallObserver):
    """Keeps calls in `store`, with what they cost by `prices`; at most `most` wait, and what comes then is lost, and counted.

    Its task runs while something waits. Make and use it in one event loop.
    """

    def __init__(self, store: UsageStore, prices: PriceBook, most: int) -> None:
        self._store = store
        self._prices = prices
        self._most = most
        self._waiting: deque[tuple[str, CallRecord]] = deque()
        self._ids = CountedIds("call")
        self._settled = 0
        self._lost = 0
        self._hurry = asyncio.Event()
        self._tried = asyncio.Event()
        self._away = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    def finished(self, record: CallRecord) -> None:
        """Take a call that has ended."""
        if self._closed or len(self._waiting) >= self._most:
            self._lose(1)
            return
        # The id is made once: where nobody knows whether a record was stored, it is stored again under the same one.
        self._waiting.append((self._ids.next(), _shortened(record) if len(record.model) > _LONGEST_NAME else record))
        if len(self._waiting) == _AT_ONCE:
            # More at a time would not be stored any cheaper, and would only take memory.
            self._hurry.set()
        if self._task is None:
            self._task = asyncio.create_task(self._write())

    async def flush(self) -> None:
        """Store what waits now, or find that the store is away."""
        last = self._settled + len(self._waiting)
        while self._settled < last:
            self._hurry.set()
            self._tried.clear()
            await self._tried.wait()
            if self._away:
                return

    async def aclose(self) -> None:
        """Store what waits; what the store does not take now is lost."""
        self._closed = True
        await self.flush()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._lose(len(self._waiting))
        self._tell_lost()

    async def _write(self) -> None:
        while self._waiting:
            await self._gather(_RETRY_SECONDS if self._away else _GATHER_SECONDS)
            await self._store_waiting()
            self._tried.set()
        self._task = None

    async def _store_waiting(self) -> None:
        """Store what has been gathered. What comes meanwhile is left for the next time, or each of a few would be a transaction."""
        for _ in range(0, len(self._waiting), _AT_ONCE):
            batch = list(islice(self._waiting, _AT_ONCE))
            try:
                await self._store.add_usage(await self._priced(batch))
            except Overloaded:
                self._away = True
                return
            except Exception:  # noqa: BLE001 - a supervised task: the records after these may well be stored
                _log.exception("usage records could not be stored")
                self._lose(len(batch))
            for _ in batch:
                self._waiting.popleft()
            self._settled += len(batch)
            self._away = False
            self._tell_lost()

    async def _priced(self, batch: list[tuple[str, CallRecord]]) -> list[UsageRecord]:
        await self._prices.ready([call for _, call in batch])
        return [self._record(identity, call) for identity, call in batch]

    def _record(self, identity: str, call: CallRecord) -> UsageRecord:
        call = _plausible(call)
        cost = self._prices.cost(call)
        return UsageRecord(identity, call, cost, unpriced=cost is None and may_have_cost(call))

    async def _gather(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        self._hurry.clear()

    def _lose(self, number: int) -> None:
        if number and not self._lost:
            _log.warning("usage records are being lost: the store does not take them, and no more can wait")
        self._lost += number

    def _tell_lost(self) -> None:
        if self._lost:
            _log.warning("%d usage records were lost", self._lost)
        self._lost = 0


def _shortened(call: CallRecord) -> CallRecord:
    """The call without what its caller made too long."""
    # The name at the provider is part of it, where the caller chose that.
    attempts = tuple(replace(attempt, target=attempt.target[:_LONGEST_NAME]) for attempt in call.attempts)
    model, upstream = call.model[:_LONGEST_NAME], call.upstream_model[:_LONGEST_NAME]
    return replace(call, model=model, upstream_model=upstream, attempts=attempts)


def _plausible(call: CallRecord) -> CallRecord:
    """The call without what an upstream may have made too large."""
    if call.usage is None:
        return call
    counts = _COUNTS(call.usage)
    if min(counts) >= 0 and max(counts) <= _MOST_TOKENS:
        return call
    return replace(call, usage=Usage(*(min(max(count, 0), _MOST_TOKENS) for count in counts)))
