"""ModelService's RPCs: find the provider, ask it in its own API or by a turn, render the answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson

from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel import errors
from trivet.kernel.address_guard import AddressGuard
from trivet.model.v1 import model_pb2, model_service_pb2_grpc, response_context_pb2, response_stored_pb2
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.registry import Registry, ServedModel
from trivet.model_service.faces import chat
from trivet.model_service.faces.chat_answer import ChatChunks, WholeChat
from trivet.model_service.faces.chat_request import parse_chat
from trivet.model_service.faces.native import NativeChat
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.turns import ModelTurns


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Serves the models of a registry. `guard` judges the URLs that requests hand to providers."""

    def __init__(self, registry: Registry, guard: AddressGuard) -> None:
        self._registry = registry
        self._turns = ModelTurns(registry, guard)

    async def CreateResponse(self, request: CreateResponseRequest, context: Any) -> Response:
        """The whole response."""
        return await self._turns.create(request, begin(request, self._turns.provider_of(request.model)))

    async def StreamResponse(self, request: CreateResponseRequest, context: Any) -> AsyncGenerator[ResponseEventBatch]:
        """The response, event by event."""
        batches = self._turns.stream(request, begin(request, self._turns.provider_of(request.model)))
        async with aclosing(batches):
            async for batch in batches:
                yield batch

    async def GetResponse(self, request: response_stored_pb2.GetResponseRequest, context: Any) -> Response:
        """A stored response."""
        raise _not_yet()

    async def FollowResponse(
        self, request: response_stored_pb2.GetResponseRequest, context: Any
    ) -> AsyncGenerator[ResponseEventBatch]:
        """The events of a stored response."""
        raise _not_yet()
        yield

    async def CancelResponse(self, request: response_stored_pb2.CancelResponseRequest, context: Any) -> Response:
        """The response, which has ended."""
        raise _not_yet()

    async def DeleteResponse(
        self, request: response_stored_pb2.DeleteResponseRequest, context: Any
    ) -> response_stored_pb2.DeletedResponse:
        """What was deleted."""
        raise _not_yet()

    async def ListInputItems(
        self, request: response_stored_pb2.ListInputItemsRequest, context: Any
    ) -> response_stored_pb2.ItemPage:
        """A page of what a response was made from."""
        raise _not_yet()

    async def CountInputTokens(
        self, request: response_context_pb2.CountInputTokensRequest, context: Any
    ) -> response_context_pb2.InputTokenCount:
        """How many tokens a request would bring."""
        raise _not_yet()

    async def CompactResponse(
        self, request: response_context_pb2.CompactResponseRequest, context: Any
    ) -> response_context_pb2.CompactedResponse:
        """A shorter form of a conversation."""
        raise _not_yet()

    async def CreateChatCompletion(self, request: CreateChatCompletionRequest, context: Any) -> ChatCompletion:
        """The whole answer."""
        provider, model = self._registry.resolve(request.model)
        await self._turns.vet(request)
        if isinstance(provider.dialect, NativeChat):
            return await provider.dialect.create_chat_completion(request, model)
        turn = parse_chat(request, model, stream=False)
        return await chat.collect(WholeChat(request.model), provider.dialect.turn(turn))

    async def StreamChatCompletion(
        self, request: CreateChatCompletionRequest, context: Any
    ) -> AsyncGenerator[ChatCompletionChunkBatch]:
        """The answer, chunk by chunk."""
        provider, model = self._registry.resolve(request.model)
        await self._turns.vet(request)
        if isinstance(provider.dialect, NativeChat):
            batches = provider.dialect.stream_chat_completion(request, model)
        else:
            turn = parse_chat(request, model, stream=True)
            chunks = ChatChunks(request.model, include_usage=request.stream_options.include_usage)
            batches = chat.stream(chunks, provider.dialect.turn(turn))
        async with aclosing(batches):
            async for batch in batches:
                yield batch

    async def ListModels(self, request: model_pb2.ListModelsRequest, context: Any) -> model_pb2.ListModelsResponse:
        """The models of all providers."""
        return model_pb2.ListModelsResponse(data=map(_model, await self._registry.models()))

    async def GetModel(self, request: model_pb2.GetModelRequest, context: Any) -> model_pb2.Model:
        """One model."""
        return _model(await self._registry.model(request.model))


def _not_yet() -> errors.ServiceError:
    return errors.restore("ROUTE_NOT_FOUND", "The server does not offer this operation.")


def _model(served: ServedModel) -> model_pb2.Model:
    extra = orjson.dumps({"description": served.description}).decode() if served.description else ""
    return model_pb2.Model(id=served.id, created=served.created, owned_by=served.provider, extra=extra)
