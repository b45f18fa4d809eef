"""Asks a model for one turn by a Responses request that has everything in it: nothing is kept, nothing is looked up."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Self, TypeVar

from google.protobuf.message import Message

from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.codec.runs import More
from trivet.kernel.errors import UnsupportedParameter
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.registry import Registry, Served
from trivet.model_service.faces import responses
from trivet.model_service.faces.native import is_native_responses, tells_turns
from trivet.model_service.faces.responses_render import ResponseRenderer
from trivet.model_service.faces.responses_request import parse
from trivet.model_service.faces.responses_tools import namespaced
from trivet.model_service.faces.responses_whole import WholeResponse
from trivet.model_service.faces.urls import fetched_urls, may_hold_urls
from trivet.model_service.routing.router import Router, Target

B = TypeVar("B", bound=Message)


@dataclass(frozen=True, slots=True)
class Native:
    """How the providers that may serve a model speak the Responses API.

    `alone`: it is one provider, and it does: whatever only it can read may be sent. `among`: one of several may.
    """

    alone: bool = False
    among: bool = False

    @classmethod
    def of(cls, served: Served) -> Self:
        """What holds of these providers."""
        native = [is_native_responses(provider.dialect) for provider, _ in served]
        alone = all(native) and all(provider.name == served[0][0].name for provider, _ in served)
        return cls(alone, any(native))


@dataclass(frozen=True, slots=True)
class Serving:
    """The providers that may serve a model, as far as a request has to be planned for them.

    `provider` is the name of the first. `runs_mcp`: each of them is left to call the tools of MCP servers by itself.
    """

    provider: str
    native: Native = field(default_factory=Native)
    runs_mcp: bool = False


def serving_of(served: Served) -> Serving:
    """What holds of these providers."""
    return Serving(served[0][0].name, Native.of(served), all(provider.native_mcp for provider, _ in served))


class ModelTurns:
    """Turns of the models of a registry. `guard` judges the URLs that requests hand to providers.

    Both ways to ask take the response as it begins, `told`, which the answer goes on from: its id, its times and what it
    repeats of its request stay; its provider is the one that serves. They raise what `Dialect.turn` raises, and ModelNotFound and AddressRefused.
    """

    def __init__(self, registry: Registry, router: Router, guard: AddressGuard) -> None:
        self._registry = registry
        self._router = router
        self._guard = guard

    @property
    def plain(self) -> "ModelTurns":
        """The same for requests that ask for nothing to be done about their turn besides asking the model."""
        return self

    def serving(self, model: str) -> Serving:
        """Who may serve `model`. Raises ModelNotFound."""
        return self._registry.find(model).known(serving_of)

    async def create(self, request: CreateResponseRequest, told: Response) -> Response:
        """The whole response."""
        await self.vet(request)

        async def asking(target: Target) -> Response:
            asked, begun, dialect = target.fitted(request), _begun(told, target), target.provider.dialect
            if is_native_responses(dialect):
                return await dialect.create_response(asked, target.model, begun)
            turn = parse(asked, target.model, stream=False)
            whole = WholeResponse(begun, namespaced(asked.tools) if asked.tools else {})
            if tells_turns(dialect):
                whole.add(await dialect.whole_turn(turn))
                return whole.response
            return await responses.collect(whole, dialect.turn(turn))

        return await self._router.ask("responses", request.model, asking)

    def stream(
        self, request: CreateResponseRequest, told: Response, more: More | None = None
    ) -> AsyncGenerator[ResponseEventBatch]:
        """The events of the response, numbered from 0: `created` and `in_progress` first, exactly one end last.

        Text that goes on may be told by `more` instead. An error before the first event is raised, a later one is told by the last two events.
        """
        ending = responses.Ending()

        def asking(target: Target) -> AsyncGenerator[ResponseEventBatch]:
            asked, begun, dialect = target.fitted(request), _begun(told, target), target.provider.dialect
            if is_native_responses(dialect):
                return dialect.stream_response(asked, target.model, begun, ending)
            turn = parse(asked, target.model, stream=True)
            renderer = ResponseRenderer(begun, namespaced(asked.tools) if asked.tools else {}, more)
            if tells_turns(dialect):
                ending.fail = renderer.fail
                return dialect.turn_as(turn, renderer)
            return responses.stream(renderer, dialect.turn(turn), ending)

        return self.vetted(request, self._router.stream("responses", request.model, asking, broken=ending.told))

    async def check(self, request: CreateResponseRequest) -> None:
        """Find fault with a request as far as that can be done without asking its provider. Raises as `create` does.

        Where several providers may serve it, one that can is enough.
        """
        served = self._registry.served(request.model)
        await self.vet(request)
        refused: UnsupportedParameter | None = None
        for provider, model in served:
            if is_native_responses(provider.dialect):
                return
            try:
                parse(request, model, stream=True)
                return
            except UnsupportedParameter as error:
                refused = refused or error
        if refused is not None:
            raise refused

    def vetted(self, request: Message, batches: AsyncGenerator[B]) -> AsyncGenerator[B]:
        """A stream that begins by judging the URLs in its request, and raises AddressRefused; itself where there can be none."""
        return self._vetted(request, batches) if may_hold_urls(request) else batches

    async def _vetted(self, request: Message, batches: AsyncGenerator[B]) -> AsyncGenerator[B]:
        async with aclosing(batches):
            await self.vet(request)
            async for batch in batches:
                yield batch

    async def vet(self, request: Message) -> None:
        """Judge the URLs in a request. Raises AddressRefused."""
        if may_hold_urls(request):
            for url, param in fetched_urls(request):
                await self._guard.vet_for_others(url, param)


def _begun(told: Response, target: Target) -> Response:
    """The response as it begins at a target: its own copy, because another target may have to begin anew."""
    begun = Response()
    begun.CopyFrom(told)
    begun.provider = target.provider.name
    return begun
