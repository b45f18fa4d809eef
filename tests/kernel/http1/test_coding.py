"""Compressed bodies: read whatever their form, in bounded pieces, and refused when they are broken."""

import gzip
import random
import zlib
from collections.abc import Callable

import pytest

from trivet.kernel.http1.coding import decoded
from trivet.kernel.http1.failures import BrokenError

TEXT = b"Trivet stands on three legs. " * 500


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


class Body:
    """Gives its pieces, and nothing at its end."""

    def __init__(self, data: bytes, size: int) -> None:
        self.pieces = [data[start : start + size] for start in range(0, len(data), size)]

    async def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


async def whole(data: bytes, coding: bytes, size: int = 100) -> tuple[bytes, int]:
    """The decoded body, and its largest piece."""
    read = decoded(Body(data, size).read, coding)
    assert read is not None
    pieces = []
    while piece := await read():
        pieces.append(piece)
    assert await read() == b""
    return b"".join(pieces), max(map(len, pieces), default=0)


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        (b"gzip", gzip.compress),
        (b"X-GZIP", gzip.compress),
        (b"deflate", zlib.compress),
        (b" Deflate ", raw_deflate),
        (b"identity", bytes),
        (b"", bytes),
        (b"gzip", lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:])),
    ],
)
async def test_a_body_is_read_in_whatever_it_is_coded(coding: bytes, encode: Callable[[bytes], bytes], size: int) -> None:
    for text in (TEXT[:3000], b"", random.Random(1).randbytes(3000)):
        assert (await whole(encode(text), coding, size))[0] == text


async def test_what_is_small_and_becomes_large_comes_in_pieces() -> None:
    bomb = bytes(5_000_000)
    for coding, encode in ((b"gzip", gzip.compress), (b"deflate", raw_deflate)):
        found, largest = await whole(encode(bomb), coding, 1 << 20)
        assert (len(found), largest <= 1 << 18) == (len(bomb), True)


BROKEN = {
    "no gzip": (b"gzip", b"{}"),
    "all but the last byte": (b"gzip", gzip.compress(TEXT)[:-1]),
    "a beginning": (b"gzip", gzip.compress(TEXT)[:20]),
    "a wrong checksum": (b"gzip", gzip.compress(TEXT)[:-8] + b"checksum"),
    "more behind it": (b"gzip", gzip.compress(TEXT) + b"more"),
    "another form": (b"gzip", zlib.compress(TEXT)),
    "no deflate": (b"deflate", b"\xff\xff\xff"),
    "deflate but for its last byte": (b"deflate", zlib.compress(TEXT)[:-1]),
    "raw deflate but for its end": (b"deflate", raw_deflate(TEXT)[:-5]),
}


@pytest.mark.parametrize(("coding", "data"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("size", [1, 1 << 20])
async def test_a_body_that_is_not_what_it_says_is_broken(coding: bytes, data: bytes, size: int) -> None:
    with pytest.raises(BrokenError):
        await whole(data, coding, size)


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"x"])
def test_an_unknown_coding_is_none_that_could_be_read(coding: bytes) -> None:
    assert decoded(Body(b"", 1).read, coding) is None
