"""ConversationService's RPCs."""

from typing import Any

from trivet.model.v1 import conversation_pb2 as pb
from trivet.model.v1 import conversation_service_pb2_grpc
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_stored_pb2 import ItemPage
from trivet.model_service.domain.store import StoredConversation
from trivet.model_service.responses.include import Shown
from trivet.model_service.responses.keeping.conversations import Conversations
from trivet.model_service.responses.owner import current_owner


class ConversationServicer(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Serves the conversations of a store."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    async def CreateConversation(self, request: pb.CreateConversationRequest, context: Any) -> pb.StoredConversation:
        """The new conversation."""
        return _told(await self._conversations.create(current_owner(), request.items, request.metadata))

    async def GetConversation(self, request: pb.GetConversationRequest, context: Any) -> pb.StoredConversation:
        """The conversation."""
        return _told(await self._conversations.get(request.conversation_id, current_owner()))

    async def UpdateConversation(self, request: pb.UpdateConversationRequest, context: Any) -> pb.StoredConversation:
        """The conversation with its new notes."""
        return _told(await self._conversations.update(request.conversation_id, current_owner(), request.metadata))

    async def DeleteConversation(self, request: pb.DeleteConversationRequest, context: Any) -> pb.DeletedConversation:
        """What was deleted."""
        await self._conversations.delete(request.conversation_id, current_owner())
        return pb.DeletedConversation(id=request.conversation_id, deleted=True)

    async def AddConversationItems(self, request: pb.AddConversationItemsRequest, context: Any) -> ItemPage:
        """The items that were added."""
        shown = Shown.asked(request.include)
        added = await self._conversations.add_items(request.conversation_id, current_owner(), request.items)
        return shown.page(added)

    async def ListConversationItems(self, request: pb.ListConversationItemsRequest, context: Any) -> ItemPage:
        """A page of the items."""
        return Shown.asked(request.include).page(await self._conversations.list_items(request, current_owner()))

    async def GetConversationItem(self, request: pb.GetConversationItemRequest, context: Any) -> Item:
        """The item."""
        item = await self._conversations.get_item(request.conversation_id, current_owner(), request.item_id)
        return Shown.asked(request.include).item(item)

    async def DeleteConversationItem(self, request: pb.DeleteConversationItemRequest, context: Any) -> pb.StoredConversation:
        """The conversation that the item was in."""
        return _told(await self._conversations.delete_item(request.conversation_id, current_owner(), request.item_id))


def _told(conversation: StoredConversation) -> pb.StoredConversation:
    return pb.StoredConversation(id=conversation.id, created_at=conversation.created_at, metadata=conversation.metadata)
