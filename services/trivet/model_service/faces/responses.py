"""The Responses face: what is asked becomes a turn, and the turn's events become a response."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from trivet.kernel.errors import ServiceError
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.turn import TurnEvent
from trivet.model_service.faces.responses_render import ResponseRenderer


async def collect(renderer: ResponseRenderer, turn: AsyncGenerator[list[TurnEvent]]) -> Response:
    """The whole response of a turn. Raises what the turn raises."""
    async with aclosing(turn) as batches:
        async for events in batches:
            renderer.render(events)
    return renderer.response


async def stream(renderer: ResponseRenderer, turn: AsyncGenerator[list[TurnEvent]]) -> AsyncGenerator[ResponseEventBatch]:
    """The events of a turn's response, in the batches that they come in.

    Raises what the turn raises before its first event; what it raises later is told by the last events.
    """
    async with aclosing(turn) as batches:
        try:
            async for events in batches:
                if rendered := renderer.render(events):
                    yield ResponseEventBatch(events=rendered)
        except ServiceError as error:
            if not renderer.started:
                raise
            yield ResponseEventBatch(events=renderer.fail(error))
