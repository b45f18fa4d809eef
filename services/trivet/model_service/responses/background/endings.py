"""Takes up what the store has of a response, to end it there or to go on."""

import time
from collections.abc import Callable, Sequence

from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.store import Change, ResponseStore, StoredResponse
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.background.journal import batches
from trivet.model_service.responses.item_ids import item_ids
from trivet.model_service.responses.keeping.records import all_events, response_of
from trivet.model_service.responses.plan import UNSTORED_SECONDS

End = Callable[[Assembly], Sequence[ResponseEvent]]
"""How a response ends: `Assembly.cancel`, or `fail` with an error."""


async def restored(store: ResponseStore, stored: StoredResponse) -> Assembly:
    """The response as its stored events left it."""
    return Assembly.restored(response_of(stored), await all_events(store, stored.id))


def expiry(stored: StoredResponse) -> int:
    """When a response that ends now expires, if that is not for the retention of the store to say: then 0."""
    return int(time.time()) + UNSTORED_SECONDS if stored.expires_at else 0


class Endings:
    """Ends responses that nobody goes on with."""

    def __init__(self, store: ResponseStore, announcements: Announcements) -> None:
        self._store = store
        self._announcements = announcements

    async def end(self, stored: StoredResponse, runner: str, end: End) -> Response | None:
        """The response, ended where its stored events stop; None if `runner` has no claim on it, or it has ended."""
        assembly = await restored(self._store, stored)
        following = assembly.last_number + 1
        events = [*assembly.close_interrupted(), *end(assembly)]
        response = assembly.response
        change = Change(
            # Who did not ask for a stream gets no events.
            events=batches(events, following) if stored.streamed else (),
            status=response.status,
            response=response.SerializeToString(),
            expires_at=expiry(stored),
            item_ids=item_ids(response.output),
        )
        if not await self._store.change(stored.id, change, runner=runner):
            return None
        self._announcements.announce(stored.id)
        return response
