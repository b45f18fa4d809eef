"""Asks a model for one turn by a Responses request that has everything in it: nothing is kept, nothing is looked up."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self, TypeVar

from google.protobuf.message import Message

from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.codec.runs import More
from trivet.kernel.errors import UnsupportedParameter
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.registry import Registry, Served
from trivet.model_service.domain.turn import TurnEvent
from trivet.model_service.faces import responses
from trivet.model_service.faces.native import is_native_responses, tells_turns
from trivet.model_service.faces.rendered import RenderedAnswer
from trivet.model_service.faces.responses_echo import Begun
from trivet.model_service.faces.responses_render import ResponseRenderer
from trivet.model_service.faces.responses_rendered import rendered_response
from trivet.model_service.faces.responses_request import parse
from trivet.model_service.faces.responses_tools import namespaced
from trivet.model_service.faces.responses_whole import WholeResponse, answer_in_one_text
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


NOT_NATIVE: Final = Native()
"""That of providers that do not, and of those that nobody has looked up."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The providers that may serve a model, as far as a request has to be planned for them.

    `provider` is the name of the first. `runs_mcp`: each of them is left to call the tools of MCP servers by itself.
    """

    provider: str
    native: Native = NOT_NATIVE
    runs_mcp: bool = False


def serving_of(served: Served) -> Serving:
    """What holds of these providers."""
    return Serving(served[0][0].name, Native.of(served), all(provider.native_mcp for provider, _ in served))


class PlainTurns:
    """Turns by requests that hold nothing but a text, and settings for the model: nothing in them is a URL.

    Both ways to ask take the response as it begins, `told`, which the answer goes on from, and may become: its id, its times and what it
    repeats of its request stay; its provider is the one that serves. They raise what `Dialect.turn` raises, and ModelNotFound.
    """

    def __init__(self, router: Router) -> None:
        self._router = router

    def create(self, request: CreateResponseRequest, told: Response) -> Coroutine[Any, Any, Response]:
        """The whole response."""
        return self._router.ask("responses", request.model, partial(_whole, request, told))

    def answer(
        self, request: CreateResponseRequest, begun: Begun, shown: "_Shown", *, accepts_rendered: bool
    ) -> Coroutine[Any, Any, Response | RenderedAnswer]:
        """The whole response of one that has begun, as its caller is `shown` it; as JSON where that is accepted and it is one text."""
        asking = partial(_rendered if accepts_rendered else _shown, request, begun, shown)
        return self._router.ask("responses", request.model, asking)

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

        return self._router.stream("responses", request.model, asking, broken=ending.told)


class ModelTurns:
    """Turns of the models of a registry, see `PlainTurns`. `guard` judges the URLs that requests hand to providers.

    Both ways to ask raise AddressRefused, too. `plain` is the same for requests that ask for nothing to be done about their turn besides
    asking the model.
    """

    def __init__(self, registry: Registry, router: Router, guard: AddressGuard) -> None:
        self.plain = PlainTurns(router)
        self._registry = registry
        self._guard = guard

    def serving(self, model: str) -> Serving:
        """Who may serve `model`. Raises ModelNotFound."""
        return self._registry.find(model).known(serving_of)

    def create(self, request: CreateResponseRequest, told: Response) -> Coroutine[Any, Any, Response]:
        """The whole response."""
        return self._vetted(request, told) if may_hold_urls(request) else self.plain.create(request, told)

    async def _vetted(self, request: CreateResponseRequest, told: Response) -> Response:
        await self.vet(request)
        return await self.plain.create(request, told)

    def stream(
        self, request: CreateResponseRequest, told: Response, more: More | None = None
    ) -> AsyncGenerator[ResponseEventBatch]:
        """See `PlainTurns.stream`."""
        return self.vetted(request, self.plain.stream(request, told, more))

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
        return self._vetted_stream(request, batches) if may_hold_urls(request) else batches

    async def _vetted_stream(self, request: Message, batches: AsyncGenerator[B]) -> AsyncGenerator[B]:
        async with aclosing(batches):
            await self.vet(request)
            async for batch in batches:
                yield batch

    async def vet(self, request: Message) -> None:
        """Judge the URLs in a request. Raises AddressRefused."""
        if may_hold_urls(request):
            for url, param in fetched_urls(request):
                await self._guard.vet_for_others(url, param)


_Shown = Callable[[Response], Response]
"""What the caller of a response sees of it."""


async def _rendered(request: CreateResponseRequest, begun: Begun, shown: _Shown, target: Target) -> Response | RenderedAnswer:
    """The whole response of one target, as JSON if it is one text."""
    asked, dialect = target.fitted(request), target.provider.dialect
    if is_native_responses(dialect) or not tells_turns(dialect):
        return await _shown(request, begun, shown, target)
    events = await dialect.whole_turn(parse(asked, target.model, stream=False, given=begun.given if asked is request else None))
    rendered = rendered_response(begun, target.provider.name, events)
    return shown(_of_turn(asked, begun.response(), target, events)) if rendered is None else rendered


async def _shown(request: CreateResponseRequest, begun: Begun, shown: _Shown, target: Target) -> Response:
    return shown(await _whole(request, begun.response(), target))


async def _whole(request: CreateResponseRequest, told: Response, target: Target) -> Response:
    """The whole response of one target."""
    asked, dialect = target.fitted(request), target.provider.dialect
    if is_native_responses(dialect):
        return await dialect.create_response(asked, target.model, _begun(told, target))
    turn = parse(asked, target.model, stream=False)
    if not tells_turns(dialect):
        return await responses.collect(_begun_whole(asked, told, target), dialect.turn(turn))
    return _of_turn(asked, told, target, await dialect.whole_turn(turn))


def _of_turn(asked: CreateResponseRequest, told: Response, target: Target, events: list[TurnEvent]) -> Response:
    told.provider = target.provider.name
    if answer_in_one_text(told, events):
        # Nothing can go wrong any more, so that it has not to be a copy.
        return told
    whole = _begun_whole(asked, told, target)
    whole.add(events)
    return whole.response


def _begun_whole(asked: CreateResponseRequest, told: Response, target: Target) -> WholeResponse:
    return WholeResponse(_begun(told, target), namespaced(asked.tools) if asked.tools else {})


def _begun(told: Response, target: Target) -> Response:
    """The response as it begins at a target: its own copy, because another target may have to begin anew."""
    begun = Response()
    begun.CopyFrom(told)
    begun.provider = target.provider.name
    return begun
