"""ModelService's RPCs: find the provider, ask it in its own API or by a turn, render the answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson

from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.address_guard import AddressGuard
from trivet.model.v1 import model_pb2, model_service_pb2_grpc
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


def _model(served: ServedModel) -> model_pb2.Model:
    extra = orjson.dumps({"description": served.description}).decode() if served.description else ""
    return model_pb2.Model(id=served.id, created=served.created, owned_by=served.provider, extra=extra)
