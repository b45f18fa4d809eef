"""ModelService's RPCs."""

from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import aclosing
from typing import Any

import orjson

from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec import runs
from trivet.kernel.codec.rendered import accepts_rendered
from trivet.model.v1 import embedding_pb2, model_pb2, model_service_pb2_grpc, moderation_pb2, rerank_pb2
from trivet.model.v1 import response_context_pb2 as context_pb
from trivet.model.v1 import response_stored_pb2 as stored_pb
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.registry import Registry, ServedModel
from trivet.model_service.faces import chat
from trivet.model_service.faces.chat_answer import ChatChunks, WholeChat
from trivet.model_service.faces.chat_request import parse_chat
from trivet.model_service.faces.native import is_native_chat
from trivet.model_service.faces.rendered import RenderedAnswer
from trivet.model_service.faces.urls import may_hold_urls
from trivet.model_service.responses.background.follower import Follower
from trivet.model_service.responses.background.runs import Runs
from trivet.model_service.responses.creation import Creation
from trivet.model_service.responses.include import Shown
from trivet.model_service.responses.keeping.stored import StoredResponses
from trivet.model_service.responses.owner import current_owner
from trivet.model_service.responses.turns.contexts import Contexts
from trivet.model_service.routing.messages import without_usage
from trivet.model_service.routing.router import Router, Target
from trivet.model_service.single_calls import SingleCalls
from trivet.model_service.turns import ModelTurns


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Serves the models of a registry."""

    def __init__(
        self,
        registry: Registry,
        router: Router,
        turns: ModelTurns,
        *,
        creation: Creation,
        stored: StoredResponses,
        follower: Follower,
        background: Runs,
        contexts: Contexts,
        single: SingleCalls,
    ) -> None:
        self._registry = registry
        self._router = router
        self._turns = turns
        self._creation = creation
        self._stored = stored
        self._follower = follower
        self._background = background
        self._contexts = contexts
        self._single = single

    def CreateResponse(self, request: CreateResponseRequest, context: Any) -> Coroutine[Any, Any, Any]:
        """The whole response; `Rendered`, maybe, where its caller accepts that."""
        return self._creation.create(request, current_owner(), accepts_rendered=accepts_rendered(context))

    def StreamResponse(self, request: CreateResponseRequest, context: Any) -> AsyncGenerator[ResponseEventBatch]:
        """The response, event by event."""
        batches = self._creation.stream(request, current_owner(), runs.more_of(context))
        return batches if runs.are_accepted() else runs.singles(batches, "events")

    async def GetResponse(self, request: stored_pb.GetResponseRequest, context: Any) -> Response:
        """A stored response."""
        return Shown.asked(request.include).response(await self._stored.get(request.response_id, current_owner()))

    async def FollowResponse(self, request: stored_pb.GetResponseRequest, context: Any) -> AsyncGenerator[ResponseEventBatch]:
        """The events of a stored response."""
        after = request.starting_after if request.HasField("starting_after") else -1
        shown, accepts_runs = Shown.asked(request.include), runs.are_accepted()
        async with aclosing(self._follower.follow(request.response_id, current_owner(), after)) as batches:
            async for batch in batches:
                told = shown.batch(batch)
                yield told if accepts_runs else runs.without_runs(told, "events")

    async def CancelResponse(self, request: stored_pb.CancelResponseRequest, context: Any) -> Response:
        """The response, which has ended."""
        return Shown(()).response(await self._background.cancel(request.response_id, current_owner()))

    async def DeleteResponse(self, request: stored_pb.DeleteResponseRequest, context: Any) -> stored_pb.DeletedResponse:
        """What was deleted."""
        await self._stored.delete(request.response_id, current_owner())
        return stored_pb.DeletedResponse(id=request.response_id, deleted=True)

    async def ListInputItems(self, request: stored_pb.ListInputItemsRequest, context: Any) -> stored_pb.ItemPage:
        """A page of what a response was made from."""
        return Shown.asked(request.include).page(await self._stored.input_items(request, current_owner()))

    async def CountInputTokens(self, request: context_pb.CountInputTokensRequest, context: Any) -> context_pb.InputTokenCount:
        """How many tokens a request would bring."""
        return await self._contexts.count(request, current_owner())

    async def CompactResponse(self, request: context_pb.CompactResponseRequest, context: Any) -> context_pb.CompactedResponse:
        """A shorter form of a conversation."""
        return await self._contexts.compact(request, current_owner())

    async def CreateChatCompletion(self, request: CreateChatCompletionRequest, context: Any) -> Any:
        """The whole answer; `Rendered`, maybe, where its caller accepts that."""
        if may_hold_urls(request):
            await self._turns.vet(request)
        rendered = accepts_rendered(context)

        def asking(target: Target) -> Awaitable[ChatCompletion | RenderedAnswer]:
            asked, dialect = target.fitted(request), target.provider.dialect
            if is_native_chat(dialect):
                return dialect.create_chat_completion(asked, target.model, accepts_rendered=rendered)
            turn = parse_chat(asked, target.model, stream=False)
            return chat.collect(WholeChat(request.model), dialect.turn(turn))

        return await self._router.ask("chat.completions", request.model, asking)

    def StreamChatCompletion(
        self, request: CreateChatCompletionRequest, context: Any
    ) -> AsyncGenerator[ChatCompletionChunkBatch]:
        """The answer, chunk by chunk."""
        more = runs.more_of(context)

        def asking(target: Target) -> AsyncGenerator[ChatCompletionChunkBatch]:
            asked, dialect = target.fitted(request), target.provider.dialect
            if is_native_chat(dialect):
                return dialect.stream_chat_completion(asked, target.model, more)
            turn = parse_chat(asked, target.model, stream=True)
            chunks = ChatChunks(request.model, include_usage=request.stream_options.include_usage)
            return chat.stream(chunks, dialect.turn(turn))

        # Models always tell what they used, because we want to know.
        shown = None if request.stream_options.include_usage else without_usage
        batches = self._turns.vetted(request, self._router.stream("chat.completions", request.model, asking, shown))
        return batches if runs.are_accepted() else runs.singles(batches, "chunks")

    async def CreateEmbeddings(self, request: embedding_pb2.CreateEmbeddingsRequest, context: Any) -> embedding_pb2.EmbeddingList:
        """The vectors of inputs."""
        return await self._single.embed(request)

    async def Rerank(self, request: rerank_pb2.RerankRequest, context: Any) -> rerank_pb2.RerankResponse:
        """Documents in the order of their relevance."""
        return await self._single.rerank(request)

    async def CreateModeration(
        self, request: moderation_pb2.CreateModerationRequest, context: Any
    ) -> moderation_pb2.CreateModerationResponse:
        """What a model thinks of an input."""
        return await self._single.moderate(request)

    async def ListModels(self, request: model_pb2.ListModelsRequest, context: Any) -> model_pb2.ListModelsResponse:
        """The models of all providers."""
        return model_pb2.ListModelsResponse(data=map(_model, await self._registry.models()))

    async def GetModel(self, request: model_pb2.GetModelRequest, context: Any) -> model_pb2.Model:
        """One model."""
        return _model(await self._registry.model(request.model))


def _model(served: ServedModel) -> model_pb2.Model:
    extra = orjson.dumps({"description": served.description}).decode() if served.description else ""
    return model_pb2.Model(id=served.id, created=served.created, owned_by=served.provider, extra=extra)
