"""What is asked about responses that are kept."""

from trivet.kernel.errors import ConversationNotFound, PreviousResponseNotFound, ResponseNotFound
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_stored_pb2 import ItemPage, ListInputItemsRequest
from trivet.model_service.domain.store import Store, StoredResponse
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.history import History, own_input
from trivet.model_service.responses.keeping.input_items import page_of
from trivet.model_service.responses.keeping.records import response_of


class StoredResponses:
    """The responses in a store. Each method raises ResponseNotFound for one that its owner does not have."""

    def __init__(self, store: Store, announcements: Announcements) -> None:
        self._store = store
        self._history = History(store)
        self._announcements = announcements

    async def get(self, response_id: str, owner: str) -> Response:
        """The response as it stands now."""
        return response_of(await self._stored(response_id, owner))

    async def delete(self, response_id: str, owner: str) -> None:
        """Delete the response; who follows it is told, and who makes it finds out."""
        if not await self._store.delete(response_id, owner):
            raise ResponseNotFound(response_id)
        self._announcements.announce(response_id)

    async def input_items(self, asked: ListInputItemsRequest, owner: str) -> ItemPage:
        """A page of what the response was made from. Raises InvalidRequest, too."""
        stored = await self._stored(asked.response_id, owner)
        return page_of([*await self._before(stored), *own_input(stored)], asked)

    async def _before(self, stored: StoredResponse) -> list[Item]:
        try:
            return await self._history.before(stored)
        except (PreviousResponseNotFound, ConversationNotFound):
            # What its owner has deleted is not listed any more.
            return []

    async def _stored(self, response_id: str, owner: str) -> StoredResponse:
        stored = await self._store.get(response_id, owner)
        if stored is None:
            raise ResponseNotFound(response_id)
        return stored
