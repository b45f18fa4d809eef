"""Encrypted reasoning, asked for so that a model can go on from it though its provider keeps nothing."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from trivet.kernel.errors import UpstreamRejected
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.registry import Registry
from trivet.model_service.responses.include import REASONING
from trivet.model_service.responses.turns.asking import Asking, again, copied
from trivet.model_service.turns import serving_of


class RememberedReasoning:
    """Asks providers of the Responses API for encrypted reasoning wherever a response is stored; see `ModelTurns`.

    They keep nothing themselves, so that without it a reasoning model could not go on from its own reasoning. Models that
    have none may refuse to be asked: they are asked without, from then on.
    """

    def __init__(self, asking: Asking, registry: Registry) -> None:
        self._asking = asking
        self._registry = registry
        self._without: set[str] = set()

    def concerns(self, request: CreateResponseRequest, told: Response) -> bool:
        if not told.store or REASONING in request.include or request.model in self._without:
            return False
        return self._registry.find(request.model).known(serving_of).native.alone

    async def create(self, request: CreateResponseRequest, told: Response) -> Response:
        if not self.concerns(request, told):
            return await self._asking.create(request, told)
        try:
            return await self._asking.create(_with_reasoning(request), again(told))
        except UpstreamRejected as error:
            self._give_up(request.model, error)
        return await self._asking.create(request, told)

    def stream(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        return self._stream(request, told) if self.concerns(request, told) else self._asking.stream(request, told)

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

    def _give_up(self, model: str, error: UpstreamRejected) -> None:
        """Raises `error` if it is about something else."""
        if "include" not in error.param and "encrypted" not in error.message.lower():
            raise error
        self._without.add(model)


def _with_reasoning(request: CreateResponseRequest) -> CreateResponseRequest:
    asked = copied(request)
    asked.include.append(REASONING)
    return asked
