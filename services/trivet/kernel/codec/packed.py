"""What is held as bytes because it is many: 32-bit floats one after the other, little-endian; and bytes as base64."""

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable
from math import isfinite


def floats(numbers: Iterable[float]) -> bytes:
    """The bytes of these numbers. Raises TypeError for what is no number, OverflowError for what 32 bits do not hold."""
    values = array("f", numbers)
    if not isfinite(sum(values)):
        raise OverflowError
    return _little_endian(values).tobytes()


def unpacked(data: bytes) -> "array[float]":
    """The numbers in `data`. Raises ValueError where it ends within one."""
    values = array("f")
    values.frombytes(data)
    return _little_endian(values)


def numbers(data: bytes) -> list[float]:
    """Likewise, as numbers of Python."""
    return unpacked(data).tolist()


def to_base64(data: bytes) -> str:
    """The text of bytes."""
    return b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """The bytes of a text. Raises ValueError for what is no base64."""
    return b64decode(text, validate=True)


def _little_endian(values: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        values.byteswap()
    return values
