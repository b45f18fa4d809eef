"""JSON values to the values of fields that hold no messages; each raises `RefusalError` for what its field cannot hold."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final

import orjson

from trivet.kernel.codec import packed
from trivet.kernel.codec.refusal import RefusalError, expected, invalid, one_of, shown
from trivet.kernel.codec.shape import Value

Decode = Callable[[Any, int], Any]
"""From a JSON value and the depth it stands at to its tree; raises `RefusalError`."""


def integer(least: int, greatest: int) -> Decode:
    """An integer within bounds; 1.0 is one, too."""

    def decode(value: Any, depth: int) -> int:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise expected("an integer", value) if type(value) is not float else invalid(f"expected an integer, but got {value}")
        if not least <= value <= greatest:
            raise invalid(f"expected an integer between {least} and {greatest}")
        return value

    return decode


def enum(numbers: Mapping[str, int]) -> Decode:
    """The number of a name; the name of zero is none."""

    known = [name for name, number in numbers.items() if number]

    def decode(value: Any, depth: int) -> int:
        if type(value) is not str:
            raise expected("a string", value)
        number = numbers.get(value)
        if not number:
            raise invalid(f"expected {one_of(known)}, but got {shown(value)}")
        return number

    return decode


def string(value: Any, depth: int) -> str:
    """A string, as it is."""
    if type(value) is not str:
        raise expected("a string", value)
    return value


def boolean(value: Any, depth: int) -> bool:
    """A boolean, as it is."""
    if type(value) is not bool:
        raise expected("a boolean", value)
    return value


def double(value: Any, depth: int) -> float:
    """A finite number."""
    if type(value) is float and isfinite(value):
        return value
    if type(value) is not int:
        raise expected("a number", value) if type(value) is not float else invalid("expected a finite number")
    try:
        return float(value)
    except OverflowError:
        raise invalid("expected a finite number") from None


def raw(value: Any, depth: int) -> str:
    """The JSON text of any value."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise invalid("it is nested too deeply" if "ecursion" in str(error) else "expected a JSON value") from None


def base64(value: Any, depth: int) -> bytes:
    """The bytes of a string of base64."""
    try:
        return packed.from_base64(string(value, depth))
    except ValueError:
        raise invalid("expected base64") from None


def floats(value: Any, depth: int) -> bytes:
    """The numbers of an array, packed."""
    if type(value) is not list:
        raise expected("an array", value)
    try:
        return packed.floats(value)
    except (TypeError, OverflowError):
        # Only here is it worth a search which one it is.
        for index, item in enumerate(value):
            _number_at(index, item, depth)
        raise invalid("expected numbers that 32 bits hold") from None


def _number_at(index: int, item: Any, depth: int) -> None:
    try:
        double(item, depth)
    except RefusalError as refusal:
        refusal.path.append(index)
        raise


SIMPLE: Final[dict[Value, Decode]] = {
    Value.STRING: string,
    Value.BOOLEAN: boolean,
    Value.DOUBLE: double,
    Value.RAW: raw,
    Value.BYTES: base64,
    Value.FLOATS: floats,
}
"""The kinds of values that need to know nothing of their field."""
