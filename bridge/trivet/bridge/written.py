"""Successful answers, which go to aiohttp's writer as they are.

aiohttp's own responses take twice the time: they look for cookies, codings and files, of which there are none here. None of these
answers a HEAD.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE

from trivet.bridge.request import Request

_MOST_UNSENT_BYTES: Final = 32 * 1024
"""How much may wait for a client before it is one that has to be waited for."""


class Whole:
    """An answer in one piece with status 200, all of which leaves in one write."""

    status: Final = 200
    prepared: Final = False

    def __init__(self, content: bytes, headers: dict[str, str]) -> None:
        self.headers = headers
        self.keep_alive = False
        self._content = content

    async def prepare(self, request: Request) -> None:
        """Write the answer. Raises ValueError for what would be another header than it says."""
        is_latest = request.head.version == HttpVersion11
        self.keep_alive = stays = not request.head.should_close
        headers = self.headers
        headers["Content-Length"] = str(len(self._content))
        headers["Date"] = _date(int(time.time()))
        headers["Server"] = SERVER_SOFTWARE
        if stays != is_latest:
            headers["Connection"] = "keep-alive" if stays else "close"
        head = "HTTP/1.1 200 OK\r\n" if is_latest else "HTTP/1.0 200 OK\r\n"
        for name, value in headers.items():
            head += f"{name}: {value}\r\n"
        lines = 1 + len(headers)
        if head.count("\r") != lines or head.count("\n") != lines or "\0" in head:
            raise ValueError("a header of an answer holds the end of a line")
        # Answers that the same turn of the loop has brought as far leave together, right after one another: who reads several of them
        # is woken by the first, which costs more than to write it, and is awake for the others.
        await asyncio.sleep(0)
        writer = request.answering
        transport = writer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        data = b"%b\r\n%b" % (head.encode(), self._content)
        transport.write(data)
        writer.output_size += len(data)
        if transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            # A client that asks on and on without reading is to wait.
            await writer.drain()

    async def write_eof(self) -> None:
        """Nothing is left to write when aiohttp asks for this."""


class Streamed(web.StreamResponse):
    """An answer with status 200 that is written bit by bit, to the writer of its request, with its end."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        self._stays = self._is_chunked = False
        self._transport: asyncio.Transport | None = None

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open."""
        return self._stays

    async def begin(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Prepare the head, which leaves with the first bytes that are written. In what each version of HTTP takes for granted, it is
        silent."""
        headers, writer = self.headers, request.writer
        self._transport = request.transport
        self._is_chunked = is_latest = request.version == HttpVersion11
        # Otherwise the end of the answer is that of the connection.
        self._stays = is_latest and request.keep_alive
        if is_latest:
            headers[hdrs.TRANSFER_ENCODING] = "chunked"
            writer.enable_chunking()
            if not self._stays:
                headers[hdrs.CONNECTION] = "close"
        headers[hdrs.DATE] = _date(int(time.time()))
        headers[hdrs.SERVER] = SERVER_SOFTWARE
        await writer.write_headers("HTTP/1.1 200 OK" if is_latest else "HTTP/1.0 200 OK", headers)
        return writer

    def write_at_once(self, frames_of: Callable[[Any], bytes | None], said: Any) -> bool:
        """Write what `frames_of` makes of what is `said`, without the turns of the loop that waiting for the client takes.

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

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """It is, when aiohttp asks for this."""
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write when aiohttp asks for this."""


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
