"""Whether there is anything of a kind in a request, wherever that may be."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from trivet.kernel.codec.shape import UnionShape, Value, fields_of, shape_of

_Holds = Literal["sought", "message", "list", "map"]
_Way = tuple[str, bool, _Holds]
"""A field: its name, whether it has to be asked for, and what it holds."""


class Search:
    """Looks for fields that have a value: in a message of each kind, those that `sought` names.

    To find that there is none is much quicker than to walk through the messages of a request. Nearly all requests are texts; this looks
    at nothing of them but whether the fields are there that hold something else.
    """

    def __init__(self, sought: Callable[[Descriptor], Sequence[str]]) -> None:
        self._sought = sought
        self._known: dict[Descriptor, tuple[str, dict[str, list[_Way]]]] = {}

    def finds(self, request: Message) -> bool:
        """Whether any of the fields has a value in `request`, or in a message in it."""
        known = self._known
        found: list[Any] = [request]
        # What is found in them is looked into, too: the list grows while it is gone through.
        for message in found:
            descriptor = message.DESCRIPTOR
            oneof, ways = known.get(descriptor) or self._ways(descriptor)
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

    def _ways(self, descriptor: Descriptor) -> tuple[str, dict[str, list[_Way]]]:
        """The sought fields of a message, and those that lead to any: of a union, with its oneof, by members; else all under ""."""
        shape = shape_of(descriptor)
        oneof = shape.oneof if isinstance(shape, UnionShape) else ""
        ways: list[_Way] = [(name, False, "sought") for name in self._sought(descriptor)]
        for field in fields_of(descriptor):
            if field.value is Value.MESSAGE and self._leads_to_any(field.message):
                held: _Holds = "map" if field.is_map else "list" if field.is_list else "message"
                ways.append((field.name, held == "message" and not oneof, held))
        self._known[descriptor] = oneof, {way[0]: [way] for way in ways} if oneof else {"": ways}
        return self._known[descriptor]

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
