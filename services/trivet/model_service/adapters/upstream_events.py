"""An answer of a provider that is a stream of server-sent events."""

from collections.abc import Awaitable, Callable
from operator import itemgetter
from types import TracebackType
from typing import Final, Self

from trivet.kernel.http1.coding import Read
from trivet.model_service.adapters.sse import SseEvent, SseParser
from trivet.model_service.adapters.upstream_answer import UpstreamAnswer

DONE: Final = b"[DONE]"
"""The data of the event that ends a stream of chat chunks."""

_DATA_OF: Final = itemgetter(1)


class UpstreamEvents:
    """The events of an answer, to be read once and within its context: `of(await read())` until it has `ended`, then `settle`.

    That is no iterator, because whoever reads it is one, and two of them cost as much as most of what comes. Leaving the context ends the call; what
    failed there becomes its typed error.
    """

    __slots__ = ("_answer", "_is_last", "_parser", "ended", "read", "settle")

    read: Read
    """Gives the bytes that are ready together, and nothing at the end."""

    settle: Callable[[], Awaitable[None]]
    """Waits a moment for the end of the body after its last event, so that the connection can serve the next call."""

    def __init__(self, answer: UpstreamAnswer, max_event_bytes: int, is_last: Callable[[SseEvent], bool] | None) -> None:
        """The event for which `is_last` is true, or without that `[DONE]`, is in the last batch."""
        self._answer = answer
        self._is_last = is_last
        self._parser = SseParser(max_event_bytes)
        self.read = answer.read
        self.settle = answer.settle
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._answer.__exit__(kind, error, trace)

    def offer(self, taker: Callable[[bytes], bool]) -> None:
        """Have bytes that begin where an event does offered to `taker`, as soon as they come; of what it takes there are no events."""
        self._answer.offer(self._parser.before(taker))

    def of(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes; where there is none, because nothing more comes, the one that the stream ended in."""
        if not data:
            self.ended = True
            return self._parser.close()
        events = self._parser.feed(data)
        if events:
            self.ended = DONE in map(_DATA_OF, events) if self._is_last is None else any(map(self._is_last, events))
        return events


class OneEvent(UpstreamEvents):
    """The only event of an answer that came in one piece, where a stream was asked for."""

    __slots__ = ("_event",)

    def __init__(self, answer: UpstreamAnswer, event: SseEvent) -> None:
        super().__init__(answer, 0, None)
        self._event = event

    def of(self, data: bytes) -> list[SseEvent]:
        """See `UpstreamEvents.of`: the answer has been read to its end."""
        del data
        self.ended = True
        return [self._event]
