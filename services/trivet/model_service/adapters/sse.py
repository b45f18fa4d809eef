"""Server-sent events as upstreams really send them: bytes in, events out, however the bytes are split."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from trivet.kernel.errors import UpstreamFailed

_BOM = b"\xef\xbb\xbf"
_COLON = 0x3A


class SseEvent(NamedTuple):
    """One event: its `event` field ("" where it has none) and its data lines, joined by a newline."""

    event: str
    data: bytes


_made: Callable[[tuple[str, bytes]], SseEvent] = partial(tuple.__new__, SseEvent)
"""An event in one step less than its class takes, which would be in Python, for each of them."""


class SseParser:
    """Parses one stream of server-sent events.

    Takes every line ending that the standard allows, a byte order mark, comments, and fields it has no use for (`id`,
    `retry`, unknown ones). Unlike a browser it also returns the last event of a stream that lacks its blank line.
    """

    __slots__ = ("_after_cr", "_first", "_limit", "_pieces", "_size")

    def __init__(self, max_event_bytes: int) -> None:
        """`max_event_bytes` bounds one event with all its lines."""
        self._limit = max_event_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes.

        Raises:
            UpstreamFailed: an event is larger than the limit.
        """
        # One whole event of one line, which is what comes while a model speaks.
        if data.startswith(b"data: ") and data.find(b"\n") == len(data) - 2 and self._is_whole(data):
            return [_made(("", data[6:-2]))]
        if data and (self._after_cr or b"\r" in data):
            data = self._with_plain_newlines(data)
        if b"\n\n" not in data and not self._ends_across(data):
            self._keep(data)
            return []
        if self._pieces:
            data = b"".join((*self._pieces, data))
            self._pieces, self._size = [], 0
        *blocks, rest = data.split(b"\n\n")
        if rest:
            self._keep(rest)
        return self._events(blocks)

    def close(self) -> list[SseEvent]:
        """The event that the stream ended in, if its closing blank line is all that was missing."""
        rest = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return self._events([rest])

    def before(self, taker: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """`taker`, asked only for bytes that begin where an event does, after the first one, and hold none that is too large.

        What it takes is whole events, and is not fed.
        """
        limit = self._limit

        def asked(data: bytes) -> bool:
            return not (self._pieces or self._first or self._after_cr or len(data) > limit) and taker(data)

        return asked

    def _is_whole(self, data: bytes) -> bool:
        """Whether `data` begins where an event does, and ends where one does if it has no more newlines than two at its end."""
        fresh = not (self._pieces or self._first or self._after_cr)
        return fresh and data.endswith(b"\n\n") and b"\r" not in data and len(data) <= self._limit

    def _with_plain_newlines(self, data: bytes) -> bytes:
        if self._after_cr:
            data = data.removeprefix(b"\n")
        # A carriage return ends its line at once; a newline that follows belongs to it, even if it comes later.
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _ends_across(self, data: bytes) -> bool:
        """Whether the end of an event began before `data`."""
        return data.startswith(b"\n") and bool(self._pieces) and self._pieces[-1].endswith(b"\n")

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise UpstreamFailed("The provider sent an event that is too large.")
        if data:
            self._pieces.append(data)

    def _events(self, blocks: list[bytes]) -> list[SseEvent]:
        if self._first and blocks:
            self._first = False
            blocks[0] = blocks[0].removeprefix(_BOM)
        if any(map(self._limit.__lt__, map(len, blocks))):
            raise UpstreamFailed("The provider sent an event that is too large.")
        events = []
        for block in blocks:
            # What nearly all of them are is not worth a call.
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(_made(("", block[6:])))
            elif (event := _event(block)) is not None:
                events.append(event)
        return events


def _event(block: bytes) -> SseEvent | None:
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        if not line or line[0] == _COLON:
            continue
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return SseEvent(name.decode(errors="replace"), b"\n".join(data)) if data else None
