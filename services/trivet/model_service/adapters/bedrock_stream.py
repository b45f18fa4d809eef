"""AWS's binary event stream, as the events of a Converse stream."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any, NamedTuple

import orjson

from trivet.kernel.errors import ServiceError

MEDIA_TYPE = "application/vnd.amazon.eventstream"


class ConverseEvent(NamedTuple):
    """An event by its name, such as `contentBlockDelta`; `fault` says that the name is an exception's."""

    name: str
    body: dict[str, Any]
    fault: bool = False


async def read_events(
    pieces: AsyncGenerator[bytes], invalid: Callable[[str], ServiceError]
) -> AsyncGenerator[list[ConverseEvent]]:
    """The events in the bytes of a stream, in batches of what was ready together.

    Raises:
        ServiceError: what `invalid` makes of bytes that are no such stream; what came before them goes out first.
    """
    from botocore.eventstream import EventStreamBuffer, ParserError

    buffer = EventStreamBuffer()
    async with aclosing(pieces):
        async for piece in pieces:
            buffer.add_data(piece)
            events: list[ConverseEvent] = []
            try:
                events.extend(_events(buffer))
            except (ParserError, ValueError, KeyError, TypeError) as error:
                if events:
                    yield events
                raise invalid("sent a stream of events that is broken") from error
            if events:
                yield events


def _events(buffer: Any) -> Iterator[ConverseEvent]:
    for message in buffer:
        headers = message.headers
        match headers.get(":message-type"):
            case "event":
                yield ConverseEvent(headers[":event-type"], _object(message.payload))
            case "exception":
                yield ConverseEvent(headers[":exception-type"], _object(message.payload), fault=True)
            case "error":
                # What went wrong outside of the model's service has no body.
                told = {"message": headers.get(":error-message", "")}
                yield ConverseEvent(str(headers.get(":error-code", "")), told, fault=True)
            case _:
                continue


def _object(payload: bytes) -> dict[str, Any]:
    body = orjson.loads(payload) if payload else {}
    if not isinstance(body, dict):
        raise TypeError("not an object")
    return body
