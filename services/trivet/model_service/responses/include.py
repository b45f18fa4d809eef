"""What `include` asks for besides. Encrypted reasoning is kept to go on from, and shown only to those who ask for it."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, Final

from trivet.kernel.errors import UnsupportedParameter, UpstreamRejected
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model.v1.response_stored_pb2 import ItemPage
from trivet.model_service.domain.registry import Registry
from trivet.model_service.faces.native import NativeResponses
from trivet.model_service.faces.responses_request import INCLUDES
from trivet.model_service.responses.turns.asking import Asking, again, copied

REASONING: Final = "reasoning.encrypted_content"

_WITH_ITEM: Final = frozenset({"output_item_added", "output_item_done"})
_WITH_RESPONSE: Final = frozenset({"created", "queued", "in_progress", "completed", "incomplete", "failed"})


def check_include(include: Iterable[str]) -> None:
    """Raises UnsupportedParameter for what the contract does not know."""
    for index, name in enumerate(include):
        if name not in INCLUDES:
            raise UnsupportedParameter(f"Nothing by the name of '{name:.80}' can be included.", f"include[{index}]")


class Shown:
    """What a caller sees who asked to `include` this. What it is given stays as it is: copies are changed."""

    def __init__(self, include: Iterable[str]) -> None:
        self._all = REASONING in include

    def item(self, item: Item) -> Item:
        """The item for the caller."""
        if self._all or not _has_hidden([item]):
            return item
        shown = Item()
        shown.CopyFrom(item)
        _hide([shown])
        return shown

    @classmethod
    def asked(cls, include: Iterable[str]) -> "Shown":
        """What is seen by who asks for it by a request. Raises UnsupportedParameter."""
        names = list(include)
        check_include(names)
        return cls(names)

    def response(self, response: Response) -> Response:
        """The response for the caller."""
        if self._all or not _has_hidden(response.output):
            return response
        shown = again(response)
        _hide(shown.output)
        return shown

    def batch(self, batch: ResponseEventBatch) -> ResponseEventBatch:
        """The events for the caller."""
        if self._all or not any(map(_has_hidden_in, batch.events)):
            return batch
        shown = ResponseEventBatch()
        shown.CopyFrom(batch)
        for event in shown.events:
            _hide(_items_of(event))
        return shown

    def page(self, page: ItemPage) -> ItemPage:
        """The page of items for the caller."""
        if self._all or not _has_hidden(page.data):
            return page
        shown = ItemPage()
        shown.CopyFrom(page)
        _hide(shown.data)
        return shown


class RememberedReasoning:
    """Asks providers of the Responses API for encrypted reasoning wherever a response is stored; see `ModelTurns`.

    They keep nothing themselves, so that without it a reasoning model could not go on from its own reasoning. Models that
    have none may refuse to be asked: they are asked without, from then on.
    """

    def __init__(self, asking: Asking, registry: Registry) -> None:
        self._asking = asking
        self._registry = registry
        self._without: set[str] = set()

    async def create(self, request: CreateResponseRequest, told: Response) -> Response:
        if not self._may_ask(request, told):
            return await self._asking.create(request, told)
        try:
            return await self._asking.create(_with_reasoning(request), again(told))
        except UpstreamRejected as error:
            self._give_up(request.model, error)
        return await self._asking.create(request, told)

    def stream(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        return self._stream(request, told) if self._may_ask(request, told) else self._asking.stream(request, told)

    async def _stream(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        begun = False
        try:
            async with aclosing(self._asking.stream(_with_reasoning(request), again(told))) as batches:
                async for batch in batches:
                    begun = True
                    yield batch
            return
        except UpstreamRejected as error:
            if begun:
                raise
            self._give_up(request.model, error)
        async with aclosing(self._asking.stream(request, told)) as batches:
            async for batch in batches:
                yield batch

    def _may_ask(self, request: CreateResponseRequest, told: Response) -> bool:
        if not told.store or REASONING in request.include or request.model in self._without:
            return False
        return isinstance(self._registry.resolve(request.model)[0].dialect, NativeResponses)

    def _give_up(self, model: str, error: UpstreamRejected) -> None:
        """Raises `error` if it is about something else."""
        if "include" not in error.param and "encrypted" not in error.message.lower():
            raise error
        self._without.add(model)


def _with_reasoning(request: CreateResponseRequest) -> CreateResponseRequest:
    asked = copied(request)
    asked.include.append(REASONING)
    return asked


def _hides(event: ResponseEvent) -> bool:
    kind = event.WhichOneof("event")
    if kind in _WITH_ITEM:
        return _has_hidden([getattr(event, str(kind)).item])
    return kind in _WITH_RESPONSE and _has_hidden(getattr(event, str(kind)).response.output)


def _items_of(event: ResponseEvent) -> Iterable[Item]:
    kind = event.WhichOneof("event")
    said: Any = getattr(event, kind) if kind in _WITH_ITEM or kind in _WITH_RESPONSE else None
    if said is None:
        return ()
    return [said.item] if kind in _WITH_ITEM else said.response.output


def _has_hidden_in(event: ResponseEvent) -> bool:
    return _has_hidden(_items_of(event))


def _has_hidden(items: Iterable[Item]) -> bool:
    return any(item.reasoning.encrypted_content for item in items)


def _hide(items: Iterable[Item]) -> None:
    for item in items:
        if item.HasField("reasoning"):
            item.reasoning.ClearField("encrypted_content")
