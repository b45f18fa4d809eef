"""Managed turns over a dialect that plays one answer after another."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any

from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import ServiceError
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.ports import Dialect
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.turn import TextDelta, TurnEvent, TurnFinished, TurnRequest, TurnStarted, Usage
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.responses.turns.managed_turns import ManagedTurns
from trivet.model_service.routing.router import Router

Answer = list[list[TurnEvent]] | ServiceError


class Words:
    """A tokenizer that takes a word for a token."""

    def count(self, texts: Iterable[str], model: str) -> int:
        return sum(len(text.split()) for text in texts)


class Turning:
    """A dialect with these answers, the last one again and again; `asked` is what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[TurnRequest] = []

    async def turn(self, request: TurnRequest) -> AsyncGenerator[list[TurnEvent]]:
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, ServiceError):
            raise answer
        for batch in answer:
            yield batch

    async def list_models(self) -> list[Any]:
        return []

    async def aclose(self) -> None:
        """There is nothing to close."""

    def heard(self, call: int = -1) -> list[tuple[str, str]]:
        """Who said what in the conversation of a call; what is no message by its kind."""
        return [_heard(entry) for entry in self.asked[call].conversation]


def saying(*texts: str, reason: Any = "stop") -> list[list[TurnEvent]]:
    """A turn that says this, a piece in each batch."""
    return [[TurnStarted()], *([TextDelta(text)] for text in texts), [TurnFinished(reason, Usage(10, 5, 15))]]


def registry_of(dialect: Dialect) -> Registry:
    return Registry([Provider("lab", dialect)])


def managed(dialect: Dialect) -> ManagedTurns:
    registry = registry_of(dialect)
    return ManagedTurns(registry, Router(registry), AddressGuard(), tokenizer=Words())


def asking(**changes: Any) -> CreateResponseRequest:
    request: CreateResponseRequest = codec_for(CreateResponseRequest).decode({"model": "lab/m", "input": "hi", **changes})
    return request


def item(**fields: Any) -> Item:
    found: Item = codec_for(Item).decode(fields)
    return found


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": text}


def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}


def output(call_id: str, text: str = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


async def whole(dialect: Dialect, request: CreateResponseRequest) -> Response:
    return await managed(dialect).create(request, begin(request, "lab"))


async def events_of(dialect: Dialect, request: CreateResponseRequest) -> list[ResponseEvent]:
    batches = managed(dialect).stream(request, begin(request, "lab"))
    return [event async for batch in batches for event in _events(batch)]


def as_json(events: Iterable[ResponseEvent]) -> list[dict[str, Any]]:
    return [codec_for(ResponseEvent).encode(event) for event in events]


def _events(batch: ResponseEventBatch) -> list[ResponseEvent]:
    return list(batch.events)


def _heard(entry: Any) -> tuple[str, str]:
    if not hasattr(entry, "role"):
        return type(entry).__name__, getattr(entry, "id", "") or getattr(entry, "call_id", "")
    return entry.role, "".join(part.text for part in entry.parts)
