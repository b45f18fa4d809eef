"""The URLs of strangers in a request: an upstream that fetches them may stand where only it can reach them from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from operator import attrgetter
from typing import Any, Final, cast

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from trivet.kernel.codec.shape import Field, UnionShape, Value, fields_of, shape_of
from trivet.model_service.faces.walk import joined, step, walk

_FETCHED: Final = frozenset({"image_url", "file_url", "video_url", "server_url"})
"""The names of strings that a provider fetches; any other URL, such as a citation's, it only repeats."""

_NESTED: Final = "trivet.content.v1.ImageUrl.url"

_Found = Iterator[tuple[str, str]]
_Test = Callable[[Any], Any]

# ---- finding them ------------------------------------------------------------------------------------------------------


def fetched_urls(request: Message) -> _Found:
    """Each URL in a request that its provider would fetch, and the path of its field.

    The descriptors tell where there are any; in a part, an item or a tool of an unknown type it is the keys. Among parameters that
    only the provider knows, it is those that are called as what is fetched elsewhere: `messages` beside an `input`, say.
    """
    if not may_hold_urls(request):
        return
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
    return bool(getattr(request, "extra", "")) or _test_for(request.DESCRIPTOR)(request)


@cache
def _test_for(request: Descriptor) -> _Test:
    """Tells of a request of this kind whether any is in it."""
    return _Tests().of(request)


class _Tests:
    """Compiles the tests of the kinds of messages that a request has in it, each once: some may hold others of their own kind."""

    def __init__(self) -> None:
        self._made: dict[Descriptor, _Test] = {}
        self._making: set[Descriptor] = set()

    def of(self, descriptor: Descriptor) -> _Test:
        """Whether a message of this kind holds any."""
        if descriptor in self._making:
            return partial(self._later, descriptor)
        if descriptor not in self._made:
            self._making.add(descriptor)
            self._made[descriptor] = self._compiled(descriptor)
            self._making.remove(descriptor)
        return self._made[descriptor]

    def _later(self, descriptor: Descriptor, message: Any) -> Any:
        return self._made[descriptor](message)

    def _compiled(self, descriptor: Descriptor) -> _Test:
        own = [held.name for held in _holding(descriptor)]
        inner = [field for field in fields_of(descriptor) if field.value is Value.MESSAGE and _leads_to_any(field.message)]
        shape = shape_of(descriptor)
        if isinstance(shape, UnionShape):
            members: dict[str, _Test] = dict.fromkeys(own, bool)
            return _in_union(shape.oneof, members | {field.name: self.of(field.message) for field in inner})
        return _in_any([*map(attrgetter, own), *(_in_field(field, self.of(field.message)) for field in inner)])


def _in_union(oneof: str, members: Mapping[str, _Test]) -> _Test:
    def test(message: Any) -> Any:
        member = message.WhichOneof(oneof)
        return member in members and members[member](getattr(message, member))

    return test


def _in_field(field: Field, test: _Test) -> _Test:
    name = field.name
    if field.is_map:
        return lambda message: any(map(test, getattr(message, name).values()))
    if field.is_list:
        return lambda message: any(map(test, getattr(message, name)))
    return lambda message: message.HasField(name) and test(getattr(message, name))


def _in_any(tests: Sequence[_Test]) -> _Test:
    if len(tests) == 1:
        return tests[0]
    return lambda message: any([test(message) for test in tests])  # noqa: C419 - a generator takes longer than the tests


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
