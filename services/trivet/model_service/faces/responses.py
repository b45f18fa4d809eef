"""The Responses face: what is asked becomes a turn, and the turn's events become a response."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from trivet.kernel.errors import ServiceError
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.turn import TurnEvent
from trivet.model_service.faces.responses_render import ResponseRenderer
from trivet.model_service.faces.responses_whole import WholeResponse


class Ending:
    """How a stream of events that has begun is ended with an error: whoever makes its events puts that in, as `fail`.

    It is apart from the stream, because whoever asks for streams may have another one made while nobody has seen the first.
    """

    def __init__(self) -> None:
        self.fail: Callable[[ServiceError], list[ResponseEvent]] | None = None

    def told(self, error: ServiceError) -> ResponseEventBatch:
        """The last events of a stream that has broken. Raises the error where nobody makes its events."""
        if self.fail is None:
            raise error
        return ResponseEventBatch(events=self.fail(error))


async def collect(whole: WholeResponse, turn: AsyncGenerator[list[TurnEvent]]) -> Response:
    """The whole response of a turn. Raises what the turn raises."""
    async with aclosing(turn) as batches:
        async for events in batches:
            whole.add(events)
    return whole.response


async def stream(
    renderer: ResponseRenderer, turn: AsyncGenerator[list[TurnEvent]], ending: Ending
) -> AsyncGenerator[ResponseEventBatch]:
    """The events of a turn's response, in the batches that they come in. Raises what the turn raises; see `Ending`."""
    ending.fail = renderer.fail
    async with aclosing(turn) as batches:
        async for events in batches:
            batch = renderer.batch(events)
            if batch is not None:
                yield batch
