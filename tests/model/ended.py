"""A stream of a response with the end that `ModelTurns` gives it when it breaks."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from trivet.kernel.errors import ServiceError
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model_service.faces.responses import Ending


async def ended(batches: AsyncGenerator[ResponseEventBatch], ending: Ending) -> AsyncGenerator[ResponseEventBatch]:
    """What it raises before its first event is raised, what it raises later is told by the last events."""
    begun = False
    async with aclosing(batches):
        try:
            async for batch in batches:
                begun = True
                yield batch
        except ServiceError as error:
            if not begun:
                raise
            yield ending.told(error)
