"""The URLs of strangers in a request: an upstream that fetches them may stand where only it can reach them from."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, cast

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from trivet.kernel.codec.shape import Field, ObjectShape, Value, fields_of, shape_of

_FETCHED: Final = frozenset({"image_url", "file_url", "video_url", "server_url"})
"""The names of strings that a provider fetches; any other URL, such as a citation's, it only repeats."""

_NESTED: Final = "trivet.content.v1.ImageUrl.url"

_Found = Iterator[tuple[str, str]]


def fetched_urls(message: Message, path: str = "") -> _Found:
    """Each URL in a request that its provider would fetch, and the path of its field.

    The descriptors tell where there are any; in a part, an item or a tool of an unknown type it is the keys.
    """
    holding = _holding(cast("Descriptor", message.DESCRIPTOR))
    for descriptor, value in message.ListFields():
        if found := holding.get(descriptor.name):
            field, step = found
            for one, where in _each(field, value, path + step):
                yield from _in_field(field, one, where.removeprefix("."))


@cache
def _holding(descriptor: Descriptor) -> dict[str, tuple[Field, str]]:
    """The fields of a message that are, or can hold, a URL to fetch, by name, each with its step in a path."""
    is_object = isinstance(shape_of(descriptor), ObjectShape)
    return {field.name: (field, f".{field.key}" if is_object else "") for field in fields_of(descriptor) if _can_hold(field)}


def _can_hold(field: Field) -> bool:
    seen: set[Descriptor] = set()
    waiting = [field]
    while waiting:
        current = waiting.pop()
        if _is_url(current) or _is_unknown(current):
            return True
        if current.value is Value.MESSAGE and current.message not in seen:
            seen.add(current.message)
            waiting += fields_of(current.message)
    return False


def _is_url(field: Field) -> bool:
    return field.value is Value.STRING and (field.name in _FETCHED or field.descriptor.full_name == _NESTED)


def _is_unknown(field: Field) -> bool:
    return bool(field.options.unknown)


def _each(field: Field, value: Any, path: str) -> Iterable[tuple[Any, str]]:
    if field.is_map:
        return [(one, f"{path}.{key}") for key, one in value.items()]
    return [(one, f"{path}[{index}]") for index, one in enumerate(value)] if field.is_list else [(value, path)]


def _in_field(field: Field, value: Any, path: str) -> _Found:
    if field.value is Value.MESSAGE:
        yield from fetched_urls(value, path)
    elif _is_unknown(field):
        yield from _in_json(orjson.loads(value), path)
    elif _is_fetched(value):
        yield value, path


def _in_json(value: Any, path: str) -> _Found:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _in_json(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            where = f"{path}.{key}"
            if isinstance(item, str) and key.endswith("url") and _is_fetched(item):
                yield item, where
            yield from _in_json(item, where)


def _is_fetched(url: str) -> bool:
    return url[:5].lower() not in {"", "data:"}
