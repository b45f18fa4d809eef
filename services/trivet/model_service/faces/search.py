"""Whether there is anything of a kind in a request, wherever that may be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from trivet.kernel.codec.shape import UnionShape, Value, fields_of, shape_of

_Holds = Literal["sought", "message", "list", "map"]

_Way = tuple[str, bool, _Holds, "_Kind"]
"""A field: its name, whether it has to be asked for, what it holds, and of which kind that is where it leads to more."""


@dataclass(slots=True)
class _Kind:
    """The fields of a kind of message that are sought, or lead to any: of a union, with its oneof, by members; else all under ""."""

    oneof: str = ""
    ways: dict[str, list[_Way]] = field(default_factory=dict)


class Search:
    """Looks for fields that have a value: in a message of each kind, those that `sought` names.

    To find that there is none is much quicker than to walk through the messages of a request. Nearly all requests are texts; this looks
    at nothing of them but whether the fields are there that hold something else.
    """

    def __init__(self, sought: Callable[[Descriptor], Sequence[str]]) -> None:
        self._sought = sought
        self._known: dict[Descriptor, _Kind] = {}

    def finds(self, request: Message) -> bool:
        """Whether any of the fields has a value in `request`, or in a message in it."""
        descriptor: Any = request.DESCRIPTOR
        found: list[tuple[_Kind, Sequence[Any]]] = [(self._known.get(descriptor) or self._kind(descriptor), (request,))]
        # What is found in them is looked into, too: the list grows while it is gone through.
        for kind, messages in found:
            oneof, ways = kind.oneof, kind.ways
            for message in messages:
                for name, is_told, held, inner in ways.get(message.WhichOneof(oneof) if oneof else "", ()):
                    if is_told and not message.HasField(name):
                        continue
                    value = getattr(message, name)
                    if held == "message":
                        found.append((inner, (value,)))
                    elif held == "list":
                        # A copy of the list: to iterate over what protobuf has instead is slower than to make it.
                        found.append((inner, value[:]))
                    elif held == "map":
                        found.append((inner, value.values()))
                    elif value:
                        return True
        return False

    def _kind(self, descriptor: Descriptor) -> _Kind:
        if (known := self._known.get(descriptor)) is not None:
            return known
        # Known before it is whole: a message may contain itself.
        kind = self._known[descriptor] = _Kind()
        shape = shape_of(descriptor)
        kind.oneof = shape.oneof if isinstance(shape, UnionShape) else ""
        ways: list[_Way] = [(name, False, "sought", kind) for name in self._sought(descriptor)]
        for inner in fields_of(descriptor):
            if inner.value is Value.MESSAGE and self._leads_to_any(inner.message):
                held: _Holds = "map" if inner.is_map else "list" if inner.is_list else "message"
                ways.append((inner.name, held == "message" and not kind.oneof, held, self._kind(inner.message)))
        kind.ways = {way[0]: [way] for way in ways} if kind.oneof else {"": ways}
        return kind

    def _leads_to_any(self, descriptor: Descriptor) -> bool:
        """Whether a message of this kind, or one in it, has such a field."""
        seen, waiting = {descriptor}, [descriptor]
        while waiting:
            current = waiting.pop()
            if self._sought(current):
                return True
            new = {inner.message for inner in fields_of(current) if inner.value is Value.MESSAGE} - seen
            seen |= new
            waiting += new
        return False
