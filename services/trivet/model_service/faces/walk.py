"""The messages that a request is made of, each with its place."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from trivet.kernel.codec.shape import Field, ObjectShape, Value, fields_of, shape_of

Skip = Callable[[Message], bool]


def walk(message: Message, skip: Skip | None = None) -> Iterator[tuple[Message, str]]:
    """`message` and all messages in it, each with its path, `messages[0].content`; without what `skip` is true for."""
    waiting = [(message, "")]
    while waiting:
        current, path = waiting.pop()
        if skip is not None and skip(current):
            continue
        yield current, path
        inner = _inner(cast("Descriptor", current.DESCRIPTOR))
        found: list[tuple[Message, str]] = []
        for descriptor, value in current.ListFields():
            if known := inner.get(descriptor.name):
                field, key = known
                found += _each(field, value, joined(path, key))
        waiting += reversed(found)


def joined(path: str, key: str) -> str:
    """The path of a key of the object at `path`, or of what has no step of its own."""
    return f"{path}.{key}" if path and key else path or key


def step(field: Field) -> str:
    """The step of a field in a path: its key, or "" in a union or a list, which have none of their own."""
    within = cast("Descriptor", field.descriptor.containing_type)
    return field.key if isinstance(shape_of(within), ObjectShape) else ""


@cache
def _inner(descriptor: Descriptor) -> dict[str, tuple[Field, str]]:
    """The fields of a message that hold messages, by name, each with its step in a path."""
    return {field.name: (field, step(field)) for field in fields_of(descriptor) if field.value is Value.MESSAGE}


def _each(field: Field, value: Any, path: str) -> list[tuple[Message, str]]:
    if not field.descriptor.is_repeated:
        return [(value, path)]
    if field.is_map:
        return [(one, joined(path, key)) for key, one in value.items()]
    return [(one, f"{path}[{index}]") for index, one in enumerate(value)]
