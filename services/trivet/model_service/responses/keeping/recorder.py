"""Keeps responses that are answered in the foreground: whole ones before they are answered, streams while they go out."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from itertools import count
from typing import Any, Final

from trivet.kernel.call import current_call
from trivet.kernel.errors import Overloaded, ServiceError
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.store import Change, Store
from trivet.model_service.faces.responses_failure import failure_events
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.assembly import ENDS
from trivet.model_service.responses.keeping.recording import Recording, items_of
from trivet.model_service.responses.plan import Plan, record_of

_RETRY_SECONDS: Final = 1.0
"""Between two tries to end what was left while the store was away."""

_STOPPED: Final = "The server stopped while it made the response."
_NOT_STORED: Final = "The response could not be stored."


class Recorder:
    """Keeps responses in `store`; `runner` is the name by which this process claims those that are not done yet.

    Its tasks, by which streams that were left are ended properly, go on until `aclose`.
    """

    def __init__(self, store: Store, announcements: Announcements, runner: str) -> None:
        self._store = store
        self._announcements = announcements
        self._runner = runner
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    async def keep(self, plan: Plan, response: Response) -> None:
        """Keep a whole response, and what it adds to its conversation.

        Raises:
            Overloaded: the store is away; such a response must not be answered.
        """
        if plan.kept:
            await self._store.add(record_of(plan, response, streamed=False), Change(items=items_of(plan, response)))
        elif items := items_of(plan, response):
            await self._store.add_items(response.conversation.id, items)

    def recording(self, plan: Plan) -> Recording:
        """What keeps the stream of a response, for `record`."""
        return Recording(self._store, self._announcements, plan, self._runner)

    async def record(
        self, recording: Recording, batches: AsyncGenerator[ResponseEventBatch]
    ) -> AsyncGenerator[ResponseEventBatch]:
        """Pass on `batches` at once, and keep them behind the stream; only the end waits until all is kept.

        A stream that cannot be kept goes on, and ends as failed. One that nobody listens to any more is cancelled, and kept
        as that. Raises what `batches` raises before its first event, which leaves nothing behind.
        """
        failure: ServiceError | None = None
        try:
            async with aclosing(batches):
                async for batch in batches:
                    recording.take(batch)
                    end = _end_of(batch)
                    if end is not None and not await recording.finish(end):
                        failure = Overloaded(_NOT_STORED)
                        batch = _failed(batch, failure)
                    yield batch
        finally:
            if recording.begun and not recording.finished:
                call = current_call.get()
                evicted = call is not None and call.evicted
                self._go_on(self._break_off(recording, failure or (Overloaded(_STOPPED) if evicted else None)))

    async def converse(self, plan: Plan, batches: AsyncGenerator[ResponseEventBatch]) -> AsyncGenerator[ResponseEventBatch]:
        """Pass on `batches` of a response that is not kept; what it adds to its conversation is, before the end goes out."""
        async with aclosing(batches):
            async for batch in batches:
                end = _end_of(batch)
                if end is not None:
                    try:
                        await self.keep(plan, end)
                    except ServiceError as error:
                        batch = _failed(batch, error)
                yield batch

    async def aclose(self) -> None:
        """Wait until all that was left is ended in the store; what a store that is away has of it is left to other processes."""
        self._closing.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _break_off(self, recording: Recording, error: ServiceError | None) -> None:
        # Nobody else would end it while this process renews its claims.
        while not await recording.break_off(error) and not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS):
                    await self._closing.wait()

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _end_of(batch: ResponseEventBatch) -> Response | None:
    """The response as the stream ends with it, if it ends with this batch."""
    kind = batch.events[-1].WhichOneof("event") if batch.events else None
    response: Response | None = getattr(batch.events[-1], kind).response if kind in ENDS else None
    return response


def _failed(batch: ResponseEventBatch, error: ServiceError) -> ResponseEventBatch:
    """The last batch of a stream, but failed in the end; one that had failed already stays as it is."""
    last = batch.events[-1]
    if last.HasField("failed"):
        return batch
    said = last.completed if last.HasField("completed") else last.incomplete
    events = failure_events(said.response, error, count(said.sequence_number))
    return ResponseEventBatch(events=[*batch.events[:-1], *events])
