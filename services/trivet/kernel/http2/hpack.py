"""Header blocks of HTTP/2, RFC 7541: read as anybody may write them, written without a table and so without a state."""

from collections import deque
from functools import lru_cache
from typing import Final

from trivet.kernel.http2 import huffman

Fields = list[tuple[str, str]]

_TABLE_TEXT: Final = """
:authority=|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|:status=200|:status=204|:status=206|
:status=304|:status=400|:status=404|:status=500|accept-charset=|accept-encoding=gzip, deflate|accept-language=|accept-ranges=|
accept=|access-control-allow-origin=|age=|allow=|authorization=|cache-control=|content-disposition=|content-encoding=|
content-language=|content-length=|content-location=|content-range=|content-type=|cookie=|date=|etag=|expect=|expires=|from=|
host=|if-match=|if-modified-since=|if-none-match=|if-range=|if-unmodified-since=|last-modified=|link=|location=|max-forwards=|
proxy-authenticate=|proxy-authorization=|range=|referer=|refresh=|retry-after=|server=|set-cookie=|strict-transport-security=|
transfer-encoding=|user-agent=|vary=|via=|www-authenticate=
"""
_STATIC: Final = (("", ""), *(entry.strip().partition("=")[::2] for entry in _TABLE_TEXT.split("|")))
"""The table of the standard, whose first entry has the number 1."""
_NAMES: Final = {name: index for index, (name, _) in reversed(list(enumerate(_STATIC))) if index}
_PAIRS: Final = {pair: index for index, pair in enumerate(_STATIC) if index}

TABLE_BYTES: Final = 4096
"""What a peer may have us remember of its headers; it is the standard's own figure, so nothing is said about it."""

_ENTRY_BYTES: Final = 32
_LONGEST_NUMBER: Final = 28
_INDEXED, _ADDED, _RESIZED, _NEVER_INDEXED, _HUFFMAN = 0x80, 0x40, 0x20, 0x10, 0x80


class MalformedBlock(ValueError):  # noqa: N818 - says what happened
    """Bytes that are no header block, after which nothing of the connection can be understood."""


class Decoder:
    """Reads the header blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._table: deque[tuple[str, str]] = deque()
        self._size = 0
        self._limit = TABLE_BYTES

    def decode(self, block: bytes, most: int) -> Fields:
        """The fields of `block`, as far as they hold `most` bytes: what is longer is read to its end, but not kept.

        Raises:
            MalformedBlock: it isn't one.
        """
        try:
            return self._decode(block, most)
        except (IndexError, ValueError) as failure:
            raise MalformedBlock("not a header block") from failure

    def _decode(self, block: bytes, most: int) -> Fields:
        fields: Fields = []
        position, end = 0, len(block)
        while position < end:
            first = block[position]
            if first & _INDEXED:
                index, position = _number(block, position, 0x7F)
                field = self._entry(index)
            elif first & 0xE0 == _RESIZED:
                self._limit, position = _number(block, position, 0x1F)
                if self._limit > TABLE_BYTES:
                    raise ValueError("a larger table than was offered")
                self._evict()
                continue
            else:
                index, position = _number(block, position, 0x3F if first & _ADDED else 0x0F)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, position = _text(block, position)
                value, position = _text(block, position)
                field = (name, value)
                if first & _ADDED:
                    self._add(field)
            most -= len(field[0]) + len(field[1]) + _ENTRY_BYTES
            if most >= 0:
                fields.append(field)
        if most < 0:
            fields.append(TOO_LARGE)
        return fields

    def _entry(self, index: int) -> tuple[str, str]:
        if not index:
            raise ValueError("there is no entry 0")
        return _STATIC[index] if index < len(_STATIC) else self._table[index - len(_STATIC)]

    def _add(self, field: tuple[str, str]) -> None:
        self._table.appendleft(field)
        self._size += len(field[0]) + len(field[1]) + _ENTRY_BYTES
        self._evict()

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + _ENTRY_BYTES


TOO_LARGE: Final = (":too-large", "")
"""Stands at the end of fields of which some were left out."""


def _number(block: bytes, position: int, mask: int) -> tuple[int, int]:
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > _LONGEST_NUMBER:
            raise ValueError("a number without an end")


def _text(block: bytes, position: int) -> tuple[str, int]:
    length = block[position]
    coded = length & _HUFFMAN
    if length & 0x7F == 0x7F:
        length, position = _number(block, position, 0x7F)
    else:
        length, position = length & 0x7F, position + 1
    end = position + length
    data = block[position:end]
    if len(data) < length:
        raise ValueError("a text that ends before its length")
    return (huffman.decode(data) if coded else data).decode("latin-1"), end


def field(name: str, value: bytes) -> bytes:
    """One field of a block. Keys are marked as such, so that nobody on the way puts them into a table."""
    length = len(value)
    return _name(name) + (bytes((length,)) if length < 0x7F else _long(length)) + value


def block(*fields: tuple[str, str]) -> bytes:
    """A block of fields that stay the same; those of the standard's table take a byte."""
    return b"".join(
        [
            bytes((_INDEXED | _PAIRS[name, value],)) if (name, value) in _PAIRS else field(name, value.encode("latin-1"))
            for name, value in fields
        ]
    )


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    kind = _NEVER_INDEXED if name == "authorization" else 0
    index = _NAMES.get(name)
    if index is None:
        text = name.encode("ascii")
        return bytes((kind,)) + (bytes((len(text),)) if len(text) < 0x7F else _long(len(text))) + text
    return bytes((kind | index,)) if index < 0x0F else bytes((kind | 0x0F, index - 0x0F))


def _long(length: int) -> bytes:
    length -= 0x7F
    number = bytearray((0x7F,))
    while length >= 0x80:
        number.append(length & 0x7F | 0x80)
        length >>= 7
    number.append(length)
    return bytes(number)
