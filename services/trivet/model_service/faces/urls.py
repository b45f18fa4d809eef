"""The URLs of strangers in a request: an upstream that fetches them may stand where only it can reach them from."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final, cast

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from trivet.kernel.codec.shape import Field, fields_of
from trivet.model_service.faces.search import Search
from trivet.model_service.faces.walk import joined, step, walk

_FETCHED: Final = frozenset({"image_url", "file_url", "video_url", "server_url"})
"""The names of strings that a provider fetches; any other URL, such as a citation's, it only repeats."""

_NESTED: Final = "trivet.content.v1.ImageUrl.url"

_Found = Iterator[tuple[str, str]]

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

_URLS: Final = Search(lambda descriptor: [held.name for held in _holding(descriptor)])


def may_hold_urls(request: Message) -> bool:
    """Whether anything is in a request that may be a URL to fetch, or hold one. JSON of an unknown form is looked at as if it were."""
    return bool(getattr(request, "extra", "")) or _URLS.finds(request)
