"""The Huffman code of HPACK, RFC 7541, appendix B.

It is canonical: the codes of a length follow each other in the order of their symbols, so their lengths tell all of it.
"""

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
_STEPS: Final = tuple(sorted(set(_LENGTHS)))
_LONGEST_PADDING: Final = 7


def decode(coded: bytes) -> bytes:
    """The text behind `coded`.

    Raises:
        ValueError: these bytes are no text in this code.
    """
    text = bytearray()
    bits, left = int.from_bytes(coded, "big"), 8 * len(coded)
    while left:
        for length in _STEPS:
            if length > left:
                return _padded(text, bits, left)
            symbol = _SYMBOLS.get((length, bits >> (left - length)))
            if symbol is not None:
                text.append(symbol)
                left -= length
                bits &= (1 << left) - 1
                break
        else:
            raise ValueError("not in the Huffman code")
    return bytes(text)


def _padded(text: bytearray, bits: int, left: int) -> bytes:
    if left > _LONGEST_PADDING or bits != (1 << left) - 1:
        raise ValueError("wrong padding after a text in the Huffman code")
    return bytes(text)
