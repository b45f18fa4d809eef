"""Requests made from descriptors: one for each field that a request can hold, with the same request without the field.

A field that is added to a proto is found here by itself, so that nobody can forget what becomes of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor

from trivet.kernel.codec.shape import Field, ListShape, ObjectShape, UnionShape, Value, shape_of

Wrap = Callable[[Any], Any]

_SAID = ("text", "refusal")
"""What a part is about, though it may be empty."""

UNKNOWN = {"type": "novel", "role": "novel", "name": "n"}

SAMPLES: dict[Value, Any] = {
    Value.STRING: "x",
    Value.BOOLEAN: True,
    Value.INTEGER: 1,
    Value.DOUBLE: 0.5,
    Value.RAW: {"type": "grammar", "grammar": {"syntax": "lark", "definition": "d"}},
}


@dataclass(frozen=True)
class Probe:
    """A field in its place: `given` is the JSON with it and `without` the same JSON but for it."""

    path: str
    given: Any
    without: Any


def probes(
    descriptor: Descriptor, needed: dict[str, Any], samples: dict[str, Any], is_left_out: Callable[[Probe], bool]
) -> Iterator[Probe]:
    """Every field of a request, but for those in parts for which `is_left_out` is true.

    `needed` has JSON for what must be there besides required fields, and `samples` JSON for where a made-up value would
    make no sense; both by the end of the path.
    """
    return _Walk(needed, samples, is_left_out).object(descriptor, {}, "", lambda value: value, ())


class _Walk:
    def __init__(self, needed: dict[str, Any], samples: dict[str, Any], is_left_out: Callable[[Probe], bool]) -> None:
        self._needed = needed
        self._samples = needed | samples
        self._is_left_out = is_left_out

    def object(
        self, descriptor: Descriptor, told: dict[str, Any], path: str, wrap: Wrap, above: tuple[Descriptor, ...]
    ) -> Iterator[Probe]:
        shape = shape_of(descriptor)
        assert isinstance(shape, ObjectShape)
        base = told | self._minimal(shape, path)
        for field in shape.fields:
            place = f"{path}.{field.key}".removeprefix(".")
            without = {key: value for key, value in base.items() if key != field.key}
            for where, value, message, inner_told, inner_wrap in self._values(field, place, wrap_key(wrap, base, field.key)):
                probe = Probe(where, inner_wrap(value), wrap(without))
                yield probe
                if message is not None and message not in (*above, descriptor) and not self._is_left_out(probe):
                    yield from self.object(message, inner_told, where, inner_wrap, (*above, descriptor))
        if shape.catch_all:
            yield Probe(f"{path}.novel".removeprefix("."), wrap(base | {"novel": {"a": 1}}), wrap(base))

    def _minimal(self, shape: ObjectShape, path: str) -> dict[str, Any]:
        """The required fields, with the first value that each can have."""
        found = {}
        for field in shape.fields:
            place = f"{path}.{field.key}".removeprefix(".")
            if known := _by_end(self._needed, place):
                found[field.key] = known[0]
            elif field.options.required or field.key in _SAID:
                [(_, value, *_), *_] = self._values(field, place, lambda value: value)
                found[field.key] = [value] if field.is_list else value
        return found

    def _values(self, field: Field, place: str, wrap: Wrap) -> Iterator[tuple[str, Any, Descriptor | None, dict[str, Any], Wrap]]:
        if field.is_list:
            place, wrap = f"{place}[]", in_list(wrap)
        elif field.is_map:
            place, wrap = f"{place}.k", in_map(wrap)
        if field.value is Value.MESSAGE:
            yield from self._messages(field.message, {}, place, wrap)
        elif known := _by_end(self._samples, place):
            yield place, known[0], None, {}, wrap
        else:
            yield place, (field.options.one_of or [SAMPLES[field.value]])[0], None, {}, wrap

    def _messages(
        self, descriptor: Descriptor, told: dict[str, Any], place: str, wrap: Wrap
    ) -> Iterator[tuple[str, Any, Descriptor | None, dict[str, Any], Wrap]]:
        match shape_of(descriptor):
            case ObjectShape() as shape:
                yield place, told | self._minimal(shape, place), descriptor, told, wrap
            case ListShape() as shape:
                yield from self._values(shape.items, place, wrap)
            case UnionShape() as shape:
                for member in shape.members:
                    tag = member.options.tags[0] if shape.is_tagged(member) else ""
                    named = f"{place}<{tag or member.name}>"
                    added = {shape.discriminator: tag} if tag else {}
                    if member.value is Value.MESSAGE:
                        yield from self._messages(member.message, told | added, named, wrap)
                    else:
                        [value] = _by_end(self._samples, named) or [SAMPLES[member.value]]
                        yield named, value, None, {}, wrap
                if shape.unknown:
                    yield f"{place}<unknown>", UNKNOWN, None, {}, wrap


def _by_end(table: dict[str, Any], path: str) -> list[Any]:
    """The value for a path, if there is one; a single key stands for itself at the top of a request only."""
    return [value for end, value in table.items() if path == end or (not end.isidentifier() and path.endswith(end))][:1]


def wrap_key(wrap: Wrap, base: dict[str, Any], key: str) -> Wrap:
    return lambda value: wrap(base | {key: value})


def in_list(wrap: Wrap) -> Wrap:
    return lambda value: wrap([value])


def in_map(wrap: Wrap) -> Wrap:
    return lambda value: wrap({"k": value})


def plain(path: str) -> str:
    """The path as errors write it: without the members of unions, and with the only index there is."""
    while "<" in path:
        before, _, rest = path.partition("<")
        path = before + rest.partition(">")[2]
    return path.replace("[]", "[0]")


def canonical(body: Any) -> bytes:
    return orjson.dumps(orjson.loads(orjson.dumps(body)), option=orjson.OPT_SORT_KEYS)
