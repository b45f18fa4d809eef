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


class Whole(_Written):
    """An answer in one piece, all of which leaves in one write."""

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._content = body

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Write the answer."""
        self.headers[hdrs.CONTENT_LENGTH] = str(len(self._content))
        writer = await self._write_head(request, stays=request.keep_alive)
        await writer.write_eof(self._content)
        return writer


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
