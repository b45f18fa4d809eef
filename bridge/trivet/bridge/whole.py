"""A successful answer in one piece."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE


class Whole(web.StreamResponse):
    """An answer with status 200, all of which leaves in one write; not for a HEAD.

    `web.Response` writes that, too, in twice the time: it looks for cookies, codings and files, of which there are none here.
    """

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        self._content = body
        self._stays = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open."""
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Write the answer."""
        headers = self.headers
        headers[hdrs.CONTENT_LENGTH] = str(len(self._content))
        headers[hdrs.DATE] = _date(int(time.time()))
        headers[hdrs.SERVER] = SERVER_SOFTWARE
        self._stays = request.keep_alive
        is_latest = request.version == HttpVersion11
        # What each version of HTTP takes for granted is not said.
        if self._stays != is_latest:
            headers[hdrs.CONNECTION] = "keep-alive" if self._stays else "close"
        writer = request.writer
        await writer.write_headers("HTTP/1.1 200 OK" if is_latest else "HTTP/1.0 200 OK", headers)
        await writer.write_eof(self._content)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
