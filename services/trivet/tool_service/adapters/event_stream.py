"""Server-sent events as MCP servers send them: bytes in, messages out, and what is needed to ask for the rest of a stream."""

import re
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"
_FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 600.0


class TooLargeError(Exception):
    """An event is larger than the limit."""


class MessageParser:
    """Parses one stream after another of a request.

    `last_id` is the id of the last event that had one, "" where none had; `retry_seconds` is how long the server wants a client to
    wait before it asks for the rest of a stream that has ended.
    """

    __slots__ = ("_after_cr", "_data", "_first", "_limit", "_name", "_rest", "_size", "last_id", "retry_seconds")

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self.last_id = ""
        self.retry_seconds = _FIRST_RETRY_SECONDS
        self.begin()

    def begin(self) -> None:
        """Forgets what has not come to its end: another stream follows."""
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes; an event of another kind than `message` is none. Raises TooLargeError."""
        if data:
            ended, self._after_cr = self._after_cr, data.endswith(b"\r")
            # A carriage return has ended its line at once; a newline that follows belongs to it.
            data = data.removeprefix(b"\n") if ended else data
        self._rest += data
        messages: list[bytes] = []
        # A line that comes in many pieces is looked at when it is whole, not with each of them.
        if b"\n" in data or b"\r" in data:
            *lines, rest = _LINE_END.split(bytes(self._rest))
            self._rest = bytearray(rest)
            for line in lines:
                self._take(line, messages)
        if self._size + len(self._rest) > self._limit:
            raise TooLargeError
        return messages

    def _take(self, line: bytes, messages: list[bytes]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            if any(self._data) and self._name in (b"", b"message"):
                messages.append(b"\n".join(self._data))
            self._data, self._name, self._size = [], b"", 0
            return
        self._size += len(line)
        if self._size > self._limit:
            raise TooLargeError
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                self._data.append(value)
            case b"event":
                self._name = value
            case b"id" if b"\0" not in value:
                self.last_id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit():
                self.retry_seconds = min(int(value) / 1000, _LONGEST_RETRY_SECONDS)
