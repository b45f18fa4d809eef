"""What `include` asks for. Encrypted reasoning is kept to go on from, and shown only to those who ask for it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from trivet.kernel.errors import UnsupportedParameter
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_stored_pb2 import ItemPage
from trivet.model_service.faces.responses_request import INCLUDES
from trivet.model_service.responses.assembly import BEGINNINGS, ENDS

REASONING: Final = "reasoning.encrypted_content"

_WITH_ITEM: Final = frozenset({"output_item_added", "output_item_done"})
_WITH_RESPONSE: Final = BEGINNINGS | ENDS


def check_include(include: Iterable[str]) -> None:
    """Raises UnsupportedParameter for what the contract does not know."""
    for index, name in enumerate(include):
        if name not in INCLUDES:
            raise UnsupportedParameter(f"Nothing by the name of '{name:.80}' can be included.", f"include[{index}]")


class Shown:
    """What a caller sees who asked to `include` this. What it is given stays as it is: copies are changed."""

    def __init__(self, include: Iterable[str]) -> None:
        self._all = REASONING in include

    @classmethod
    def asked(cls, include: Sequence[str]) -> "Shown":
        """What is seen by who asks for it by a request. Raises UnsupportedParameter."""
        if not include:
            return NOTHING_MORE
        names = list(include)
        check_include(names)
        return cls(names)

    def item(self, item: Item) -> Item:
        """The item for the caller."""
        if self._all or not _has_hidden([item]):
            return item
        shown = Item()
        shown.CopyFrom(item)
        _hide([shown])
        return shown

    def response(self, response: Response) -> Response:
        """The response for the caller."""
        if self._all or not _has_hidden(response.output[:]):
            return response
        shown = Response()
        shown.CopyFrom(response)
        _hide(shown.output)
        return shown

    def batch(self, batch: ResponseEventBatch) -> ResponseEventBatch:
        """The events for the caller."""
        if self._all:
            return batch
        for event in batch.events:
            kind = event.WhichOneof("event")
            if kind in _WITH_ITEM:
                # Asked here: it is with most events of a run, and hardly ever reasoning.
                item = getattr(event, kind).item
                if item.HasField("reasoning") and item.reasoning.encrypted_content:
                    return _hidden(batch)
            elif kind in _WITH_RESPONSE and (output := getattr(event, kind).response.output) and _has_hidden(output[:]):
                return _hidden(batch)
        return batch

    def page(self, page: ItemPage) -> ItemPage:
        """The page of items for the caller."""
        if self._all or not _has_hidden(page.data):
            return page
        shown = ItemPage()
        shown.CopyFrom(page)
        _hide(shown.data)
        return shown


NOTHING_MORE: Final = Shown(())
"""What a caller sees who asks for nothing besides."""


def _hidden(batch: ResponseEventBatch) -> ResponseEventBatch:
    shown = ResponseEventBatch()
    shown.CopyFrom(batch)
    for event in shown.events:
        _hide(_items_of(event))
    return shown


def _items_of(event: ResponseEvent) -> Iterable[Item]:
    kind = event.WhichOneof("event")
    said: Any = getattr(event, kind) if kind in _WITH_ITEM or kind in _WITH_RESPONSE else None
    if said is None:
        return ()
    return [said.item] if kind in _WITH_ITEM else said.response.output


def _has_hidden(items: Iterable[Item]) -> bool:
    for item in items:  # noqa: SIM110 - a generator costs more than what is asked here
        if item.HasField("reasoning") and item.reasoning.encrypted_content:
            return True
    return False


def _hide(items: Iterable[Item]) -> None:
    for item in items:
        if item.HasField("reasoning"):
            item.reasoning.ClearField("encrypted_content")
