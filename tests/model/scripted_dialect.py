"""A dialect that plays turn events: for faces and the servicer, without an upstream."""

from collections.abc import AsyncGenerator, Sequence

from trivet.kernel.errors import ServiceError
from trivet.model_service.domain.ports import ModelInfo
from trivet.model_service.domain.turn import TurnEvent, TurnRequest


class ScriptedDialect:
    """Plays `batches`, then raises `error`; keeps what it was asked. `models` is what it lists, or fails with."""

    def __init__(
        self,
        batches: Sequence[list[TurnEvent]] = (),
        error: ServiceError | None = None,
        models: list[ModelInfo] | ServiceError | None = None,
    ) -> None:
        self.batches = batches
        self.error = error
        self.models = models if models is not None else []
        self.asked: list[TurnRequest] = []
        self.listed = 0
        self.ended = 0

    async def turn(self, request: TurnRequest) -> AsyncGenerator[list[TurnEvent]]:
        self.asked.append(request)
        try:
            for batch in self.batches:
                yield batch
            if self.error:
                raise self.error
        finally:
            self.ended += 1

    async def list_models(self) -> list[ModelInfo]:
        self.listed += 1
        if isinstance(self.models, ServiceError):
            raise self.models
        return self.models

    async def aclose(self) -> None:
        """There is nothing to close."""
