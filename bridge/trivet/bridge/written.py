"""Successful answers, which go to aiohttp's writer as they are.

aiohttp's own responses take twice the time: they look for cookies, codings and files, of which there are none here. None of these
answers a HEAD.
"""

import asyncio
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE

from trivet.bridge.request import Request

_MOST_UNSENT_BYTES: Final = 32 * 1024
"""How much may wait for a client before it is one that has to be waited for."""


class _Written(web.StreamResponse):
    """An answer with status 200."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        self._stays = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open."""
        return self._stays

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write when aiohttp asks for this."""

    async def _write_head(self, request: web.BaseRequest, *, stays: bool) -> AbstractStreamWriter:
        """Have the head written with whatever comes next. In what each version of HTTP takes for granted, it is silent."""
        headers = self.headers
        headers[hdrs.DATE] = _date(int(time.time()))
        headers[hdrs.SERVER] = SERVER_SOFTWARE
        self._stays = stays
        is_latest = request.version == HttpVersion11
        if stays != is_latest:
            headers[hdrs.CONNECTION] = "keep-alive" if stays else "close"
        writer = request.writer
        await writer.write_headers("HTTP/1.1 200 OK" if is_latest else "HTTP/1.0 200 OK", headers)
        return writer


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


class Streamed(_Written):
    """An answer that is written bit by bit, to the writer of its request, with its end."""

    _is_chunked = False
    _transport: asyncio.Transport | None = None

    @property
    def takes_more(self) -> bool:
        """Whether something may be written at once: the client is there, and takes what is sent to it."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and transport.get_write_buffer_size() <= _MOST_UNSENT_BYTES

    def write_at_once(self, data: bytes) -> None:
        """Write bytes, once the head has been, without the turns of the loop that waiting for the client takes; see `takes_more`."""
        assert self._transport is not None
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    async def begin(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Prepare the head, which leaves with the first bytes that are written."""
        is_chunked = request.version == HttpVersion11
        if is_chunked:
            self.headers[hdrs.TRANSFER_ENCODING] = "chunked"
            request.writer.enable_chunking()
        self._is_chunked = is_chunked
        self._transport = request.transport
        # Otherwise the end of the answer is that of the connection.
        return await self._write_head(request, stays=is_chunked and request.keep_alive)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """It is, when aiohttp asks for this."""
        return request.writer


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
