"""Turns with all that a request may ask to be done about them besides asking the model."""

from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.codec.runs import More
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.ports import Tokenizer
from trivet.model_service.domain.registry import Registry
from trivet.model_service.responses.turns.asking import Asking, Layer
from trivet.model_service.responses.turns.compaction import Compactor
from trivet.model_service.responses.turns.context_management import CompactedTurns
from trivet.model_service.responses.turns.reasoning import RememberedReasoning
from trivet.model_service.responses.turns.structured import CheckedTurns
from trivet.model_service.responses.turns.truncation import FittedTurns
from trivet.model_service.routing.router import Router
from trivet.model_service.turns import ModelTurns


class ManagedTurns(ModelTurns):
    """`ModelTurns` whose context is compacted and truncated as asked for, and whose text is in the form asked for.

    A request that asks for nothing of it is asked as it is.
    """

    def __init__(self, registry: Registry, router: Router, guard: AddressGuard, *, tokenizer: Tokenizer) -> None:
        super().__init__(registry, router, guard)
        self.compactor = Compactor(registry, router, self)
        self._asking = ModelTurns(registry, router, guard)
        reasoning = RememberedReasoning(self._asking, registry)
        fitted = FittedTurns(reasoning)
        compacted = CompactedTurns(fitted, registry, self.compactor, tokenizer)
        self._managed = CheckedTurns(compacted)
        self._layers: tuple[Layer, ...] = (self._managed, compacted, fitted, reasoning)

    def create(self, request: CreateResponseRequest, told: Response) -> Coroutine[Any, Any, Response]:
        """See `ModelTurns.create`."""
        return self.layered(request, told).create(request, told)

    def stream(
        self, request: CreateResponseRequest, told: Response, more: More | None = None
    ) -> AsyncGenerator[ResponseEventBatch]:
        """See `ModelTurns.stream`."""
        asking = self.layered(request, told)
        return self._asking.stream(request, told, more) if asking is self._asking else asking.stream(request, told)

    def layered(self, request: CreateResponseRequest, told: Response) -> Asking:
        """What asks for the turn of such a request: with all layers around it if one of them is concerned."""
        for layer in self._layers:
            if layer.concerns(request, told):
                return self._managed
        return self._asking
