"""Bodies that are compressed, though they were asked for as they are."""

import zlib
from collections.abc import Awaitable, Callable
from typing import Final

from trivet.kernel.http1.failures import BrokenError

_PIECE_BYTES: Final = 256 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_CODINGS: Final = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": zlib.MAX_WBITS}

Read = Callable[[], Awaitable[bytes]]


def decoded(read: Read, coding: bytes) -> Read | None:
    """What reads the body that `read` gives in a content coding, a bounded piece at a time; None if the coding is unknown."""
    coding = coding.strip().lower()
    if coding in (b"", b"identity"):
        return read
    window = _CODINGS.get(coding)
    return None if window is None else _Inflating(read, window).read


class _Inflating:
    def __init__(self, read: Read, window: int) -> None:
        self._read = read
        self._window = window
        self._inflater = zlib.decompressobj(window)
        self._begun = False
        self._rest = b""

    async def read(self) -> bytes:
        """The next piece, never larger than a few hundred kilobytes, however small it was made."""
        try:
            while data := self._rest or await self._read():
                if piece := self._inflate(data):
                    return piece
            if not self._begun:
                return b""
            if piece := self._inflater.flush():
                return piece
        except zlib.error as error:
            raise BrokenError(f"the body is not compressed as it says: {error}") from error
        if not self._inflater.eof:
            raise BrokenError("the compressed body ended early")
        return b""

    def _inflate(self, data: bytes) -> bytes:
        if not self._begun:
            self._begun = True
            # There are servers that leave out the head of zlib's format, as there are some that do not.
            if self._window == zlib.MAX_WBITS and data[0] & 0x0F != zlib.DEFLATED:
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        elif self._inflater.eof:
            # A body may be several of them, one after the other.
            self._inflater = zlib.decompressobj(self._window)
        piece = self._inflater.decompress(data, _PIECE_BYTES)
        self._rest = self._inflater.unconsumed_tail or self._inflater.unused_data
        return piece
