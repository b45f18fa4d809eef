"""Conversations, as their RPCs have them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from trivet.kernel.errors import ConversationNotFound, InvalidRequest, ItemNotFound
from trivet.model.v1.conversation_pb2 import ListConversationItemsRequest
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_stored_pb2 import ItemPage
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.store import ConversationStore, StoredConversation
from trivet.model_service.responses.item_ids import item_id, own, refuse_long_id
from trivet.model_service.responses.keeping.input_items import DEFAULT_LIMIT, page
from trivet.model_service.responses.keeping.records import item_of, stored_item
from trivet.model_service.responses.metadata import check_metadata


class Conversations:
    """The conversations in a store. Every method raises ConversationNotFound for one that its owner does not have."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store

    async def create(self, owner: str, items: Sequence[Item], metadata: Mapping[str, str]) -> StoredConversation:
        """A new conversation. Raises InvalidRequest."""
        check_metadata(metadata)
        kept = _new_items(items)
        conversation = StoredConversation(new_id("conv"), owner, int(time.time()), dict(metadata))
        await self._store.add_conversation(conversation, [stored_item(item) for item in kept])
        return conversation

    async def get(self, conversation_id: str, owner: str) -> StoredConversation:
        """The conversation."""
        conversation = await self._store.get_conversation(conversation_id, owner)
        if conversation is None:
            raise ConversationNotFound(conversation_id)
        return conversation

    async def update(self, conversation_id: str, owner: str, metadata: Mapping[str, str]) -> StoredConversation:
        """The conversation with other notes. Raises InvalidRequest."""
        check_metadata(metadata)
        if not await self._store.update_conversation(conversation_id, owner, dict(metadata)):
            raise ConversationNotFound(conversation_id)
        return await self.get(conversation_id, owner)

    async def delete(self, conversation_id: str, owner: str) -> None:
        """Delete the conversation with its items."""
        if not await self._store.delete_conversation(conversation_id, owner):
            raise ConversationNotFound(conversation_id)

    async def add_items(self, conversation_id: str, owner: str, items: Sequence[Item]) -> ItemPage:
        """Add items; those that were added. Raises InvalidRequest."""
        await self.get(conversation_id, owner)
        kept = _new_items(items)
        if not await self._store.add_items(conversation_id, [stored_item(item) for item in kept]):
            await self.get(conversation_id, owner)
            raise InvalidRequest("Invalid 'items': the conversation has an item with an id of one of these.", "items")
        return page(kept, has_more=False)

    async def list_items(self, asked: ListConversationItemsRequest, owner: str) -> ItemPage:
        """A page of the items. Raises InvalidRequest."""
        await self.get(asked.conversation_id, owner)
        limit = asked.limit or DEFAULT_LIMIT
        order: Literal["asc", "desc"] = "asc" if asked.order == "asc" else "desc"
        # One more than is asked for tells whether there are more.
        found = await self._store.list_items(asked.conversation_id, after=asked.after, limit=limit + 1, order=order)
        if found is None or (asked.HasField("after") and not asked.after):
            raise InvalidRequest(f"Invalid 'after': the conversation has no item '{asked.after:.80}'.", "after")
        return page([item_of(stored) for stored in found[:limit]], has_more=len(found) > limit)

    async def get_item(self, conversation_id: str, owner: str, name: str) -> Item:
        """An item. Raises ItemNotFound."""
        await self.get(conversation_id, owner)
        stored = await self._store.get_item(conversation_id, name)
        if stored is None:
            raise ItemNotFound(name)
        return item_of(stored)

    async def delete_item(self, conversation_id: str, owner: str, name: str) -> StoredConversation:
        """Take an item out; the conversation. Raises ItemNotFound."""
        conversation = await self.get(conversation_id, owner)
        if not await self._store.delete_item(conversation_id, name):
            raise ItemNotFound(name)
        return conversation


def _new_items(items: Iterable[Item]) -> list[Item]:
    given = list(items)
    for index, item in enumerate(given):
        if item.HasField("item_reference"):
            told = f"Invalid 'items[{index}]': a conversation keeps items, and no references to them."
            raise InvalidRequest(told, f"items[{index}]")
        refuse_long_id(item, f"items[{index}]")
    kept = own(given)
    taken: set[str] = set()
    for index, name in enumerate(map(item_id, kept)):
        if name in taken:
            raise InvalidRequest(f"Invalid 'items[{index}].id': another item has the id '{name:.80}'.", f"items[{index}].id")
        taken.add(name)
    return kept
