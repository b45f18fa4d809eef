"""The URLs of strangers in a request: an upstream that fetches them may stand where only it can reach them from."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final, Literal, cast

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from trivet.kernel.codec.shape import Field, UnionShape, Value, fields_of, shape_of
from trivet.model_service.faces.walk import joined, step, walk

_FETCHED: Final = frozenset({"image_url", "file_url", "video_url", "server_url"})
"""The names of strings that a provider fetches; any other URL, such as a citation's, it only repeats."""

_NESTED: Final = "trivet.content.v1.ImageUrl.url"

_Found = Iterator[tuple[str, str]]

_Holds = Literal["url", "message", "list", "map"]
_Way = tuple[str, bool, _Holds]
"""A field: its name, whether it has to be asked for, and what it holds. JSON of an unknown form is looked at as if it were a URL."""

# ---- finding them ------------------------------------------------------------------------------------------------------


def fetched_urls(request: Message) -> _Found:
    """Each URL in a request that its provider would fetch, and the path of its field.

    The descriptors tell where there are any; in a part, an item or a tool of an unknown type it is the keys. Among parameters that
    only the provider knows, it is those that are called as what is fetched elsewhere: `messages` beside an `input`, say. To find that
    there is none takes much longer than to ask whether the request `may_hold_urls`.
    """
    if extra := getattr(request, "extra", ""):
        yield from (found for found in _in_json(orjson.loads(extra), "") if _is_called_so(found))
    for message, path in walk(request):
        for held in _holding(cast("Descriptor", message.DESCRIPTOR)):
            value = getattr(message, held.name)
            if not value:
                continue
            where = joined(path, step(held))
            if held.options.unknown:
                yield from _in_json(orjson.loads(value), where)
            elif _is_fetched(value):
                yield value, where


def _is_called_so(found: tuple[str, str]) -> bool:
    url, path = found
    return "://" in url and path.rpartition(".")[2] in {"url", *_FETCHED}


@cache
def _holding(descriptor: Descriptor) -> tuple[Field, ...]:
    """The fields of a message that are a URL to fetch, or JSON of an unknown form."""
    return tuple(
        held
        for held in fields_of(descriptor)
        if held.options.unknown or (held.name in _FETCHED and not held.descriptor.message_type) or _is_nested(held)
    )


def _is_nested(held: Field) -> bool:
    return held.descriptor.full_name == _NESTED


def _in_json(value: Any, path: str) -> _Found:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _in_json(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            where = joined(path, key)
            if isinstance(item, str) and key.endswith("url") and _is_fetched(item):
                yield item, where
            yield from _in_json(item, where)


def _is_fetched(url: str) -> bool:
    return url[:5].lower() not in {"", "data:"}


# ---- whether there may be any --------------------------------------------------------------------------------------------


def may_hold_urls(request: Message) -> bool:
    """Whether anything is in a request that may be a URL to fetch, or hold one.

    Nearly all requests are texts. This looks at nothing of them but whether the fields are there that hold something else.
    """
    if getattr(request, "extra", ""):
        return True
    found: list[Any] = [request]
    # What is found in them is looked into, too: the list grows while it is gone through.
    for message in found:
        oneof, ways = _ways(message.DESCRIPTOR)
        for name, is_told, held in ways.get(message.WhichOneof(oneof) if oneof else "", ()):
            if is_told and not message.HasField(name):
                continue
            value = getattr(message, name)
            if held == "message":
                found.append(value)
            elif held == "list":
                # A copy of the list: to iterate over what protobuf has instead is slower than to make it.
                found += value[:]
            elif held == "map":
                found += value.values()
            elif value:
                return True
    return False


@cache
def _ways(descriptor: Descriptor) -> tuple[str, dict[str, list[_Way]]]:
    """The fields of a message that may be such a URL, or lead to any: of a union, with its oneof, by members; else all under ""."""
    shape = shape_of(descriptor)
    oneof = shape.oneof if isinstance(shape, UnionShape) else ""
    ways: list[_Way] = [(field.name, False, "url") for field in _holding(descriptor)]
    for field in fields_of(descriptor):
        if field.value is Value.MESSAGE and _leads_to_any(field.message):
            held: _Holds = "map" if field.is_map else "list" if field.is_list else "message"
            ways.append((field.name, held == "message" and not oneof, held))
    return oneof, {way[0]: [way] for way in ways} if oneof else {"": ways}


def _leads_to_any(descriptor: Descriptor) -> bool:
    """Whether a message of this kind, or one in it, holds any."""
    seen, waiting = {descriptor}, [descriptor]
    while waiting:
        current = waiting.pop()
        if _holding(current):
            return True
        new = {inner.message for inner in fields_of(current) if inner.value is Value.MESSAGE} - seen
        seen |= new
        waiting += new
    return False
