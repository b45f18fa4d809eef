"""Successful answers, which go to the transport of their connection as they are.

aiohttp's own responses take twice the time: they look for cookies, codings and files, of which there are none here. None of these
answers a HEAD.
"""

import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final

from aiohttp import HttpVersion11
from aiohttp.http import SERVER_SOFTWARE

from trivet.bridge.request import Request
from trivet.kernel.turn import next_turn

_MOST_UNSENT_BYTES: Final = 32 * 1024
"""How much may wait for a client before it is one that has to be waited for."""


_ONE_WRITE_BYTES: Final = 64 * 1024
"""Up to this size it is cheaper to copy a body behind its head than to write both."""


class Whole:
    """An answer in one piece with status 200, all of which leaves at once."""

    status: Final = 200
    prepared: Final = False

    def __init__(self, content: bytes, headers: dict[str, str], *, has_company: bool = False) -> None:
        """`has_company` says that other requests are answered at the same time."""
        self.headers = headers
        self.keep_alive = False
        self._has_company = has_company
        self._content = content

    async def prepare(self, request: Request) -> None:
        """Write the answer. Raises ValueError for what would be another header than it says."""
        is_latest = request.head.version == HttpVersion11
        self.keep_alive = stays = not request.head.should_close
        headers = self.headers
        headers["Content-Length"] = str(len(self._content))
        if stays != is_latest:
            headers["Connection"] = "keep-alive" if stays else "close"
        head = _head(headers, is_latest=is_latest)
        if self._has_company:
            # Answers that the same turn of the loop brings as far leave right after one another: who reads several of them is woken
            # by the first, which costs more than to write it, and is awake for the others.
            await next_turn()
        writer = request.answering
        transport = writer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        if len(self._content) <= _ONE_WRITE_BYTES:
            transport.write(head + self._content)
        else:
            transport.writelines((head, self._content))
        writer.output_size += len(head) + len(self._content)
        if transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            # A client that asks on and on without reading is to wait.
            await writer.drain()

    async def write_eof(self) -> None:
        """Nothing is left to write when aiohttp asks for this."""


class Streamed:
    """An answer with status 200 that is written bit by bit, with its end.

    What is written leaves at once. `write` and `end` say whether the client is to be waited for, by `drained`, and raise
    ConnectionResetError where it has left.
    """

    status: Final = 200
    prepared: Final = False

    def __init__(self, request: Request, headers: dict[str, str]) -> None:
        """Makes the head, which leaves with the first bytes; in what each version of HTTP takes for granted, it is silent.

        Raises ValueError for what would be another header than it says.
        """
        self.headers = headers
        self._is_chunked = is_latest = request.head.version == HttpVersion11
        # Otherwise the end of the answer is that of the connection.
        self.keep_alive = stays = is_latest and not request.head.should_close
        if is_latest:
            headers["Transfer-Encoding"] = "chunked"
            if not stays:
                headers["Connection"] = "close"
        self._head = _head(headers, is_latest=is_latest)
        self._writer = request.answering
        self._transport = self._writer.transport

    def write(self, data: bytes, end: bytes = b"") -> bool:
        """Write these bytes; where there are none, the head alone. `end` is what stands behind them."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        if self._is_chunked and data:
            data = b"%x\r\n%b\r\n%b" % (len(data), data, end)
        else:
            data += end
        if self._head:
            data, self._head = self._head + data, b""
        transport.write(data)
        self._writer.output_size += len(data)
        return transport.get_write_buffer_size() > _MOST_UNSENT_BYTES

    def end(self, data: bytes) -> bool:
        """Write the last bytes, if there are any, and the end."""
        return self.write(data, b"0\r\n\r\n" if self._is_chunked else b"")

    def write_at_once(self, frames_of: Callable[[Any], bytes | None], said: Any) -> bool:
        """Write what `frames_of` makes of what is `said`, if the client takes it.

        To be called once the head has been written. False: nothing is written, because `frames_of` makes nothing of it; or the
        client has to be waited for, or has left, and `frames_of` was not asked.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            return False
        data = frames_of(said)
        if data is None:
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        return True

    def drained(self) -> Awaitable[None]:
        """Return when the client has taken enough to be written more. Raises ConnectionResetError."""
        return self._writer.drain()

    async def prepare(self, request: Request) -> None:
        """It is, when aiohttp asks for this."""

    async def write_eof(self) -> None:
        """Nothing is left to write when aiohttp asks for this."""


def _head(headers: dict[str, str], *, is_latest: bool) -> bytes:
    """The head of an answer, with its date. Raises ValueError for what would be another header than it says."""
    lines = ""
    for name, value in headers.items():
        lines += f"{name}: {value}\r\n"
    if lines.count("\r") != len(headers) or lines.count("\n") != len(headers) or "\0" in lines:
        raise ValueError("a header of an answer holds the end of a line")
    return f"{_beginning(int(time.time()), is_latest)}{lines}\r\n".encode()


@lru_cache(maxsize=4)
def _beginning(second: int, is_latest: bool) -> str:
    version = "HTTP/1.1" if is_latest else "HTTP/1.0"
    return f"{version} 200 OK\r\nDate: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n"
