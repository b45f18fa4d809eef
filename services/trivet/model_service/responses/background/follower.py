"""Replays the events of a response from the store, and goes on with those that are still to come."""

from collections.abc import AsyncGenerator
from typing import Final

from trivet.kernel.codec.runs import without_runs
from trivet.kernel.errors import InvalidRequest, ResponseNotFound
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model_service.domain.store import ResponseStore, StoredEvents, StoredResponse
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.assembly import ENDS
from trivet.model_service.responses.keeping.records import ENDED

_AT_ONCE: Final = 16
"""Batches that are held in memory for a reader."""

_FIRST_LOOK: Final = 0.2
_LAST_LOOK: Final = 1.0
"""Seconds between two looks for what another process has stored; they grow while nothing comes."""


class Follower:
    """Follows responses; each reader looks into the store by itself, so that none waits for another."""

    def __init__(self, store: ResponseStore, announcements: Announcements) -> None:
        self._store = store
        self._announcements = announcements

    async def follow(self, response_id: str, owner: str, after: int = -1) -> AsyncGenerator[ResponseEventBatch]:
        """The events with numbers above `after`, as they are stored, up to the one that ends the response.

        Where the first is yet to come, a batch without events comes at once: a caller is not left to wonder if it is heard.

        Raises:
            ResponseNotFound: the owner has no such response, or has deleted it meanwhile.
            InvalidRequest: it was not streamed, so that it has no events.
        """
        await self._must_have_events(response_id, owner)
        with self._announcements.listening(response_id) as listener:
            pause = _FIRST_LOOK
            heard = False
            while True:
                page = await self._store.events(response_id, after, _AT_ONCE)
                for stored in page:
                    told = _cut(stored, after)
                    after = stored.last
                    yield told
                    if told.events[-1].WhichOneof("event") in ENDS:
                        return
                if page:
                    pause = _FIRST_LOOK
                elif await self._is_over(response_id, owner, after):
                    return
                else:
                    pause = min(pause * 1.5, _LAST_LOOK)
                    if not heard:
                        yield ResponseEventBatch()
                heard = True
                if len(page) < _AT_ONCE:
                    await listener.wait(pause)

    async def _must_have_events(self, response_id: str, owner: str) -> None:
        response = await self._response(response_id, owner)
        if not response.streamed:
            told = "The response has no events: it was neither streamed nor made in the background. Ask for it without `stream`."
            raise InvalidRequest(told, "stream")

    async def _is_over(self, response_id: str, owner: str, after: int) -> bool:
        """Whether nothing comes after what was read: the end may have been stored since."""
        response = await self._response(response_id, owner)
        return response.status in ENDED and not await self._store.events(response_id, after, 1)

    async def _response(self, response_id: str, owner: str) -> StoredResponse:
        response = await self._store.get(response_id, owner)
        if response is None:
            raise ResponseNotFound(response_id)
        return response


def _cut(stored: StoredEvents, after: int) -> ResponseEventBatch:
    batch = ResponseEventBatch.FromString(stored.data)
    if stored.first <= after:
        batch = without_runs(batch, "events")
        del batch.events[: after + 1 - stored.first]
    return batch
