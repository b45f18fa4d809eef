"""A dialect that stops in the middle of a turn until a test lets it go on."""

import asyncio
from collections.abc import AsyncGenerator

from tests.model.responses.turning import Turning, saying
from trivet.model_service.domain.turn import TextDelta, TurnEvent, TurnFinished, TurnRequest, TurnStarted

HALF: list[TurnEvent] = [TurnStarted(), TextDelta("half")]
REST: list[TurnEvent] = [TextDelta(" and half"), TurnFinished("stop")]


class Halting(Turning):
    """Says one half, unless it is not to begin, and the other one when `gate` is set, or raises `error` then.

    `said` and `left` tell how far it came.
    """

    def __init__(self, error: Exception | None = None, *, begins: bool = True) -> None:
        super().__init__(saying("x"))
        self.gate = asyncio.Event()
        self.said = asyncio.Event()
        self.left = asyncio.Event()
        self._error = error
        self._begins = begins

    async def turn(self, request: TurnRequest) -> AsyncGenerator[list[TurnEvent]]:
        self.asked.append(request)
        try:
            if self._begins:
                yield HALF
            await self.gate.wait()
            if self._error:
                raise self._error
            self.said.set()
            yield REST
        finally:
            self.left.set()
