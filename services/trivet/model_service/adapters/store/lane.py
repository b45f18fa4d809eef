"""Lanes: whatever waits for the database while it is busy goes there together, as one piece of work.

Of writers that are many at once, one transaction is made, and each of them waits for it to be committed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection

from trivet.kernel.errors import Overloaded
from trivet.model_service.adapters.store.faults import fault_of, reason_of
from trivet.model_service.adapters.store.link import Link

_log = logging.getLogger("trivet.store")

A = TypeVar("A")
R = TypeVar("R")

# What is done for several callers at once: one result for each argument, in their order.
Many: TypeAlias = Callable[[Connection, Sequence[A]], Sequence[R]]

_ATTEMPTS = 3
_CANNOT_BE_REACHED = "The store cannot be reached now; try again."


@dataclass(slots=True)
class _Job:
    many: Many[Any, Any]
    argument: Any
    answer: "asyncio.Future[Any]"


@dataclass(slots=True)
class _Batch:
    jobs: Sequence[_Job]
    attempts: int = 0


class Lane:
    """One or more links, each of which takes at most `most` of what waits. Make and use it in one event loop."""

    def __init__(self, links: Sequence[Link], most: int) -> None:
        self._links = tuple(links)
        self._idle = list(links)
        self._most = most
        self._waiting: deque[_Job] = deque()
        self._again: deque[_Batch] = deque()
        self._away = False
        self._woken = False
        self._closed = False
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def do(self, many: Many[A, R], argument: A) -> R:
        """What `many` returns for `argument`, committed. Of what waits together, the same `many` is called once for all.

        Raises:
            Overloaded: the database could not be reached. What was to be written is not, with one exception: where the
                connection broke in the middle of a commit, nobody knows.
            SQLAlchemyError, sqlite3.Error: it could not be done, whoever else was in the transaction.
        """
        if self._closed:
            raise Overloaded(_CANNOT_BE_REACHED)
        loop = asyncio.get_running_loop()
        job = _Job(many, argument, loop.create_future())
        self._waiting.append(job)
        if not self._woken:
            # Not at once: who is resumed in the same turn of the loop comes along.
            self._woken = True
            loop.call_soon(self._wake)
        result: R = await job.answer
        return result

    async def aclose(self) -> None:
        """Do what waits, then close the links."""
        self._closed = True
        while self._waiting or self._again or len(self._idle) < len(self._links):
            self._quiet.clear()
            await self._quiet.wait()
        for link in self._links:
            await link.aclose()

    def _wake(self) -> None:
        self._woken = False
        while self._idle and (batch := self._next()):
            self._begin(self._idle.pop(), batch)
        if len(self._idle) == len(self._links):
            self._quiet.set()

    def _next(self) -> _Batch | None:
        if self._again:
            return self._again.popleft()
        jobs: list[_Job] = []
        while self._waiting and len(jobs) < self._most:
            # Who gave up waiting is left out.
            if not (job := self._waiting.popleft()).answer.done():
                jobs.append(job)
        return _Batch(jobs) if jobs else None

    def _begin(self, link: Link, batch: _Batch) -> None:
        link.run(partial(_perform, batch.jobs)).add_done_callback(partial(self._ended, link, batch))

    def _ended(self, link: Link, batch: _Batch, performed: "asyncio.Future[list[Any]]") -> None:
        self._idle.append(link)
        if performed.cancelled():
            for job in batch.jobs:
                job.answer.cancel()
        elif error := performed.exception():
            self._failed(batch, error)
        else:
            self._tell(None)
            for job, result in zip(batch.jobs, performed.result(), strict=True):
                if not job.answer.done():
                    job.answer.set_result(result)
        self._wake()

    def _failed(self, batch: _Batch, error: BaseException) -> None:
        fault = fault_of(error)
        batch.attempts += 1
        if fault == "again" and batch.attempts < _ATTEMPTS:
            self._again.append(batch)
        elif fault == "own" and len(batch.jobs) > 1:
            # It is the fault of one of them, and the others shall not suffer for it.
            self._again.extend(_Batch([job]) for job in batch.jobs)
        else:
            if fault != "own":
                self._tell(error)
            for job in batch.jobs:
                if not job.answer.done():
                    job.answer.set_exception(error if fault == "own" else _unreachable(error))

    def _tell(self, error: BaseException | None) -> None:
        """Log when the database goes away, why, and when it is back; not each call that finds it so."""
        if error is not None and not self._away:
            _log.warning("the store cannot be reached", extra={"reason": reason_of(error)})
        elif error is None and self._away:
            _log.warning("the store is reached again")
        self._away = error is not None


def _perform(batch: Sequence[_Job], connection: Connection) -> list[Any]:
    """The result of each job, in their order."""
    groups: dict[Many[Any, Any], list[int]] = {}
    for number, job in enumerate(batch):
        groups.setdefault(job.many, []).append(number)
    results: list[Any] = [None] * len(batch)
    for many, numbers in groups.items():
        for number, result in zip(numbers, many(connection, [batch[number].argument for number in numbers]), strict=True):
            results[number] = result
    return results


def _unreachable(error: BaseException) -> Overloaded:
    overloaded = Overloaded(_CANNOT_BE_REACHED)
    overloaded.__cause__ = error
    return overloaded


def each(one: Callable[[Connection, A], R]) -> Many[A, R]:
    """`one` called for each argument."""

    @wraps(one)
    def many(connection: Connection, arguments: Sequence[A]) -> Sequence[R]:
        return [one(connection, argument) for argument in arguments]

    return many
