"""What a response goes on from: the responses before it, or a conversation."""

from collections.abc import Collection, Iterable, Sequence

from trivet.kernel.errors import ConversationNotFound, InvalidRequest, PreviousResponseNotFound
from trivet.model.v1.response_item_pb2 import Item, ItemReference
from trivet.model_service.domain.store import Store, StoredResponse
from trivet.model_service.responses.item_ids import item_id
from trivet.model_service.responses.keeping.records import ENDED, item_of, pack_items, response_of, unpack_items


def pack_input(own: Iterable[Item], conversation: Iterable[Item] = ()) -> bytes:
    """The input of a stored response: references to the items of the conversation as it was, and its own items."""
    references = (Item(item_reference=ItemReference(id=item_id(item))) for item in conversation)
    return pack_items([*references, *own])


def own_input(stored: StoredResponse) -> list[Item]:
    """The own items of a stored response, without what it went on from."""
    return [item for item in unpack_items(stored.input) if not item.HasField("item_reference")]


class History:
    """Reads from a store what responses go on from, the oldest item first."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def after(self, response_id: str, owner: str) -> list[Item]:
        """What goes before a response that goes on from this one: all inputs and outputs up to it.

        Raises:
            PreviousResponseNotFound: the owner has no such response.
            InvalidRequest: it has not ended, or the conversation that it was part of is gone.
        """
        lineage = await self._store.lineage(response_id, owner)
        if not lineage:
            raise PreviousResponseNotFound(response_id)
        if lineage[-1].status not in ENDED:
            told = f"The previous response '{response_id:.80}' has not ended: it is {lineage[-1].status}."
            raise InvalidRequest(told, "previous_response_id")
        began = await self._began_with(lineage)
        if began is None:
            told = f"The conversation that the previous response '{response_id:.80}' is part of was deleted."
            raise InvalidRequest(told, "previous_response_id")
        return [*began, *_inputs_and_outputs(lineage)]

    async def of_conversation(self, conversation_id: str, owner: str) -> list[Item]:
        """The items of a conversation. Raises ConversationNotFound."""
        if await self._store.get_conversation(conversation_id, owner) is None:
            raise ConversationNotFound(conversation_id, "conversation")
        return [item_of(stored) for stored in await self._store.items(conversation_id)]

    async def items(self, names: Collection[str], owner: str) -> dict[str, Item]:
        """Those of these items that are in a stored response of the owner, or else in a conversation, by their ids.

        Of several with the same id, because an upstream gave it twice: that of the newest response.
        """
        if not names:
            return {}
        holders = await self._store.holders(names, owner)
        held = {stored.id: _own_items(stored) for stored in holders.values()}
        found = {name: held[stored.id][name] for name, stored in holders.items()}
        if missing := [name for name in names if name not in found]:
            found |= {stored.id: item_of(stored) for stored in await self._store.find_items(missing, owner)}
        return found

    async def before(self, stored: StoredResponse) -> list[Item]:
        """What a stored response went on from.

        Raises:
            PreviousResponseNotFound: some of it is gone, because it was deleted while the response was begun.
            ConversationNotFound: the conversation that it is part of was deleted.
        """
        lineage = await self._store.lineage(stored.id, stored.owner)
        if not lineage:
            raise PreviousResponseNotFound(stored.previous_id)
        began = await self._began_with(lineage)
        if began is None:
            raise ConversationNotFound(lineage[0].conversation_id, "conversation")
        return [*began, *_inputs_and_outputs(lineage[:-1])]

    async def _began_with(self, lineage: Sequence[StoredResponse]) -> list[Item] | None:
        """The items of the conversation that the first response of a lineage went on in; None if it is gone."""
        first = lineage[0]
        if not first.conversation_id:
            return []
        if await self._store.get_conversation(first.conversation_id, first.owner) is None:
            return None
        references = [item.item_reference.id for item in unpack_items(first.input) if item.HasField("item_reference")]
        kept = {item.id: item for item in await self._store.items(first.conversation_id)} if references else {}
        return [item_of(kept[name]) for name in references if name in kept]


def _own_items(stored: StoredResponse) -> dict[str, Item]:
    return {item_id(item): item for item in (*own_input(stored), *response_of(stored).output)}


def _inputs_and_outputs(lineage: Iterable[StoredResponse]) -> list[Item]:
    return [item for stored in lineage for item in (*own_input(stored), *response_of(stored).output)]
