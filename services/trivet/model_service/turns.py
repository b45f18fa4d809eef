"""Asks a model for one turn by a Responses request that has everything in it: nothing is kept, nothing is looked up."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.protobuf.message import Message

from trivet.kernel.address_guard import AddressGuard
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.registry import Registry
from trivet.model_service.faces import responses
from trivet.model_service.faces.native import NativeResponses
from trivet.model_service.faces.responses_render import ResponseRenderer
from trivet.model_service.faces.responses_request import parse
from trivet.model_service.faces.responses_tools import namespaced
from trivet.model_service.faces.urls import fetched_urls
from trivet.model_service.routing.router import Router, Target


class ModelTurns:
    """Turns of the models of a registry. `guard` judges the URLs that requests hand to providers.

    Both ways to ask take the response as it begins, `told`, which the answer goes on from and may change: its id, its times
    and what it repeats of its request stay. They raise what `Dialect.turn` raises, and ModelNotFound and AddressRefused.
    """

    def __init__(self, registry: Registry, router: Router, guard: AddressGuard) -> None:
        self._registry = registry
        self._router = router
        self._guard = guard

    def provider_of(self, model: str) -> str:
        """The name of the provider that serves `model`. Raises ModelNotFound."""
        return self._registry.resolve(model)[0].name

    def is_native(self, model: str) -> bool:
        """Whether the provider of `model` speaks the Responses API itself. Raises ModelNotFound."""
        return isinstance(self._registry.resolve(model)[0].dialect, NativeResponses)

    def runs_mcp(self, model: str) -> bool:
        """Whether the provider of `model` is left to call the tools of MCP servers by itself. Raises ModelNotFound."""
        return self._registry.resolve(model)[0].native_mcp

    async def create(self, request: CreateResponseRequest, told: Response) -> Response:
        """The whole response."""
        await self.vet(request)

        async def asking(target: Target) -> Response:
            dialect = target.provider.dialect
            if isinstance(dialect, NativeResponses):
                return await dialect.create_response(request, target.model, told)
            turn = parse(request, target.model, stream=False)
            return await responses.collect(ResponseRenderer(told, namespaced(request.tools)), dialect.turn(turn))

        return await self._router.ask("responses", request.model, asking)

    async def stream(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        """The events of the response, numbered from 0: `created` and `in_progress` first, exactly one end last.

        An error before the first event is raised, a later one is told by the last two events.
        """
        await self.vet(request)

        def asking(target: Target) -> AsyncGenerator[ResponseEventBatch]:
            dialect = target.provider.dialect
            if isinstance(dialect, NativeResponses):
                return dialect.stream_response(request, target.model, told)
            turn = parse(request, target.model, stream=True)
            return responses.stream(ResponseRenderer(told, namespaced(request.tools)), dialect.turn(turn))

        async with aclosing(self._router.stream("responses", request.model, asking)) as batches:
            async for batch in batches:
                yield batch

    async def check(self, request: CreateResponseRequest) -> None:
        """Find fault with a request as far as that can be done without asking its provider. Raises as `create` does."""
        provider, model = self._registry.resolve(request.model)
        await self.vet(request)
        if not isinstance(provider.dialect, NativeResponses):
            parse(request, model, stream=True)

    async def vet(self, request: Message) -> None:
        """Judge the URLs in a request. Raises AddressRefused."""
        for url, param in fetched_urls(request):
            await self._guard.vet_for_others(url, param)
