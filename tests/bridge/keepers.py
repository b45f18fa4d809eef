"""ModelService and ConversationService as servicers that note what they are asked and answer by a script."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import PreviousResponseNotFound, ResponseNotFound, ServiceError
from trivet.model.v1 import conversation_pb2, conversation_service_pb2_grpc, model_service_pb2_grpc
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model.v1.response_stored_pb2 import DeletedResponse, ItemPage

Step = str | asyncio.Event | ServiceError
"""A piece of text, something to wait for, or a failure."""

USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


@dataclass
class Keeper(model_service_pb2_grpc.ModelServiceServicer):
    """Plays a turn for each response asked for, the last one again and again; `kept` are the ids that it goes on from."""

    turns: Sequence[Sequence[Step]] = (["Hi."],)
    kept: set[str] = field(default_factory=set)
    created: list[CreateResponseRequest] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    running: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def StreamResponse(self, request: Any, context: Any) -> AsyncGenerator[Any]:
        number = len(self.created)
        self.created.append(_copied(request))
        if request.HasField("previous_response_id") and request.previous_response_id not in self.kept:
            raise PreviousResponseNotFound(request.previous_response_id)
        turn = self.turns[min(number, len(self.turns) - 1)]
        try:
            async for event in _played(turn, f"resp_{number}", request):
                yield ResponseEventBatch(events=[event])
                self.running.set()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def FollowResponse(self, request: Any, context: Any) -> AsyncGenerator[Any]:
        self.asked.append(_copied(request))
        first = request.starting_after + 1 if request.HasField("starting_after") else 0
        try:
            for number, step in enumerate(self.turns[0][first:], start=first):
                if isinstance(step, ServiceError):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": step, "logprobs": []}
                    event = _event("response.output_text.delta", number, **delta)
                    yield ResponseEventBatch(events=[event])
                    self.running.set()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def GetResponse(self, request: Any, context: Any) -> Response:
        return self._stored(request)

    async def CancelResponse(self, request: Any, context: Any) -> Response:
        return self._stored(request)

    async def DeleteResponse(self, request: Any, context: Any) -> DeletedResponse:
        return DeletedResponse(id=self._stored(request).id, deleted=True)

    async def ListInputItems(self, request: Any, context: Any) -> ItemPage:
        self._stored(request)
        return ItemPage(has_more=False)

    def _stored(self, request: Any) -> Response:
        self.asked.append(_copied(request))
        if request.response_id.startswith("gone"):
            raise ResponseNotFound(request.response_id)
        return Response(id=request.response_id)


@dataclass
class Conversations(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Notes what it is asked."""

    asked: list[Any] = field(default_factory=list)

    async def UpdateConversation(self, request: Any, context: Any) -> conversation_pb2.StoredConversation:
        self.asked.append(_copied(request))
        return conversation_pb2.StoredConversation(id=request.conversation_id, metadata=request.metadata)

    async def DeleteConversationItem(self, request: Any, context: Any) -> conversation_pb2.StoredConversation:
        self.asked.append(_copied(request))
        return conversation_pb2.StoredConversation(id=request.conversation_id)

    async def ListConversationItems(self, request: Any, context: Any) -> ItemPage:
        self.asked.append(_copied(request))
        return ItemPage(has_more=False)


async def _played(turn: Sequence[Step], name: str, request: Any) -> AsyncGenerator[Any]:
    """The events of a response with one message, whose pieces the turn has; none where nothing is to be generated."""
    settings = {"model": request.model, "store": not request.HasField("store") or request.store}
    response = {"id": name, "object": "response", "created_at": 1, "status": "in_progress", "output": [], **settings}
    yield _event("response.created", 0, response=response)
    yield _event("response.in_progress", 1, response=response)
    number, said = 2, ""
    item = {"type": "message", "id": f"msg_{name}", "role": "assistant", "status": "in_progress", "content": []}
    place = {"output_index": 0, "content_index": 0, "item_id": item["id"]}
    generates = "generate" not in orjson.loads(request.extra or "{}")
    if generates:
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield _event("response.output_item.added", 2, output_index=0, item=item)
        yield _event("response.content_part.added", 3, part=part, **place)
        number = 4
        for step in turn:
            if isinstance(step, ServiceError):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            said += step
            yield _event("response.output_text.delta", number, delta=step, logprobs=[], **place)
            number += 1
        part = part | {"text": said}
        item = item | {"status": "completed", "content": [part]}
        yield _event("response.output_text.done", number, text=said, logprobs=[], **place)
        yield _event("response.content_part.done", number + 1, part=part, **place)
        yield _event("response.output_item.done", number + 2, output_index=0, item=item)
        number += 3
    ended = {"status": "completed", "completed_at": 2, "usage": USAGE, "output": [item] if generates else []}
    yield _event("response.completed", number, response=response | ended)


def _event(kind: str, number: int, **pairs: Any) -> ResponseEvent:
    return codec_for(ResponseEvent).decode({"type": kind, "sequence_number": number, **pairs})


def _copied(request: Any) -> Any:
    kept = type(request)()
    kept.CopyFrom(request)
    return kept
