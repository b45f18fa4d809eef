"""The Huffman code of HPACK, RFC 7541, appendix B.

It is canonical: the codes of a length follow each other in the order of their symbols, so their lengths tell all of it.
"""

from functools import lru_cache
from typing import Final

_LENGTHS: Final = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c"
    "060a0a0c0d06080b0a0a080b080606060505050606060606060607080f060c0a"
    "0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c"
    "1416141416161617161717171717181718181617181717171715161716171718"
    "1615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
)
"""The length of the code of each byte, in bits."""


def _table() -> dict[tuple[int, int], int]:
    codes: dict[tuple[int, int], int] = {}
    code = last = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_LENGTHS)):
        code <<= length - last
        codes[length, code] = symbol
        code, last = code + 1, length
    return codes


_SYMBOLS: Final = _table()
_LONGEST: Final = max(_LENGTHS)
_LONGEST_PADDING: Final = 7

_State = tuple[int, int]
"""A code that is not complete: its length, and its bits so far."""


def decode(coded: bytes) -> bytes:
    """The text behind `coded`.

    Raises:
        ValueError: these bytes are no text in this code.
    """
    text: list[bytes] = []
    state: _State = (0, 0)
    for byte in coded:
        symbols, state = _step(state, byte)
        text.append(symbols)
    length, bits = state
    if length > _LONGEST_PADDING or bits != (1 << length) - 1:
        raise ValueError("wrong padding after a text in the Huffman code")
    return b"".join(text)


# Header fields repeat themselves, and so do these steps. Bounded, for who sends headers is anybody.
@lru_cache(maxsize=16_384)
def _step(state: _State, byte: int) -> tuple[bytes, _State]:
    symbols = bytearray()
    length, bits = state
    for shift in range(7, -1, -1):
        length, bits = length + 1, bits << 1 | byte >> shift & 1
        symbol = _SYMBOLS.get((length, bits))
        if symbol is not None:
            symbols.append(symbol)
            length = bits = 0
    if length > _LONGEST:
        raise ValueError("not in the Huffman code")
    return bytes(symbols), (length, bits)
