"""Keys inside of a request that no field stands for: a turn has no place for them, and nothing is dropped in silence."""

from collections.abc import Container, Iterator
from typing import Final

import orjson
from google.protobuf.message import Message

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.faces.search import Search
from trivet.model_service.faces.walk import Skip, joined, walk

_REST: Final = "extra"
"""The field with the keys that no other stands for."""

_KEYS: Final = Search(lambda descriptor: [_REST] if _REST in descriptor.fields_by_name else [])


def may_hold_unknown_keys(request: Message) -> bool:
    """Whether there is a key that is unknown in a request, or anywhere in it: hardly ever."""
    return _KEYS.finds(request)


def refuse_unknown_keys(request: Message, skip: Skip | None = None, meaningless: Container[str] = ()) -> None:
    """Refuses a request that asks for something by a key which is unknown, but for those at its top, which are passed on.

    What `skip` is true for is not looked into; keys of the names `meaningless` ask for nothing.

    Raises:
        UnsupportedParameter: `param` is the path of the key.
    """
    if not may_hold_unknown_keys(request):
        return
    for message, path in walk(request, skip=skip):
        if path and getattr(message, _REST, ""):
            for name in unknown_keys(message):
                if name not in meaningless:
                    where = joined(path, name)
                    raise UnsupportedParameter(f"This model's provider cannot be asked for `{where}`.", where)


def unknown_keys(message: Message) -> Iterator[str]:
    """The keys in `extra` that ask for something: null, or nothing in a list, says as much as no key at all."""
    extra = getattr(message, _REST, "")
    for name, value in orjson.loads(extra or "{}").items():
        if value is not None and value not in ([], {}):
            yield name
