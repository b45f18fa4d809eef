"""The query of a URL, or the fields of a form, to JSON values of the kinds that the fields of a message want."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

import orjson
from google.protobuf.descriptor import Descriptor

from trivet.kernel.codec.refusal import RefusalError, invalid, shown
from trivet.kernel.codec.shape import Field, ObjectShape, Value, shape_of

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_ELEMENT: Final = re.compile(r"(.+)\[[0-9]*\]")
_PAIR: Final = re.compile(r"([^\[]+)\[(.+)\]", re.DOTALL)


class QueryCodec:
    """Reads queries and forms for one message; get it from `query_codec`."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._scalars: dict[str, Callable[[str], Any]] = {}
        self._lists: dict[str, Callable[[str], Any]] = {}
        self._maps: dict[str, Callable[[str], Any]] = {}
        for field in query_fields(descriptor):
            kind = self._maps if field.is_map else self._lists if field.is_list else self._scalars
            kind[field.key] = _READERS[field.value]

    def decode(self, pairs: Iterable[tuple[str, str]], *, keep_unknown: bool = False) -> dict[str, Any]:
        """The JSON object of the pairs, for the codec of the message; pairs that no field stands for are left out.

        A list is given as `key=a&key=b`, `key[]=a` or `key[0]=a`, in the order of its elements, a map as `key[name]=a`. With
        `keep_unknown`, pairs that no field stands for are kept under their keys, as strings, or as a list where a key is given
        twice. Raises `InvalidRequest`.
        """
        out: dict[str, Any] = {}
        try:
            for key, text in pairs:
                if not self._put(out, key, text) and keep_unknown:
                    out[key] = text if key not in out else [*_listed(out[key]), text]
        except RefusalError as refusal:
            raise refusal.as_error() from None
        return out

    def _put(self, out: dict[str, Any], key: str, text: str) -> bool:
        """Put a pair where it belongs; False if no field stands for it."""
        element = _ELEMENT.fullmatch(key)
        name = element[1] if element else key
        if name in self._lists:
            values = out.setdefault(name, [])
            values.append(_read(self._lists[name], text, name, len(values)))
        elif (pair := _PAIR.fullmatch(key)) and pair[1] in self._maps:
            _put_once(out.setdefault(pair[1], {}), pair[2], _read(self._maps[pair[1]], text, *pair.groups()), pair[1])
        elif key in self._maps:
            raise invalid(f"its pairs are given one by one, as in {key}[name]=value", key)
        elif key not in self._scalars:
            return False
        elif key in out:
            raise invalid("it is given twice", key)
        else:
            out[key] = _read(self._scalars[key], text, key)
        return True


@cache
def query_codec(descriptor: Descriptor) -> QueryCodec:
    """The codec for the queries of a request message, compiled at the first call."""
    return QueryCodec(descriptor)


def query_fields(descriptor: Descriptor) -> list[Field]:
    """The fields of a message that a query can give: those whose values are no objects, alone, in a list or in a map."""
    shape = shape_of(descriptor)
    fields = shape.fields if isinstance(shape, ObjectShape) else ()
    return [field for field in fields if field.value in _READERS]


def _put_once(pairs: dict[str, Any], name: str, value: Any, key: str) -> None:
    if name in pairs:
        raise invalid("it is given twice", name, key)
    pairs[name] = value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _read(reader: Callable[[str], Any], text: str, *path: str | int) -> Any:
    try:
        return reader(text)
    except RefusalError as refusal:
        refusal.path.extend(reversed(path))
        raise


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise invalid(f"expected 'true' or 'false', but got {shown(text)}")
    return value


def _number(what: str) -> Callable[[str], Any]:
    def read(text: str) -> int | float:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = None
        if type(value) is not int and type(value) is not float:
            raise invalid(f"expected {what}, but got {shown(text)}")
        return value

    return read


_READERS: Final[dict[Value, Callable[[str], Any]]] = {
    Value.STRING: str,
    Value.ENUM: str,
    Value.BOOLEAN: _boolean,
    Value.INTEGER: _number("an integer"),
    Value.DOUBLE: _number("a number"),
}
