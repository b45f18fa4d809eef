"""Messages to JSON values: a descriptor is compiled to a closure from a message to what orjson can write.

The keys that are always there come first, in the order of the fields; they are one dict that is copied for each message.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from google.protobuf.descriptor import Descriptor
from orjson import Fragment

from trivet.kernel.codec import packed
from trivet.kernel.codec.shape import Field, ListShape, ObjectShape, UnionShape, Value, enum_names, shape_of

Encode = Callable[[Any], Any]
"""From the value of a field, or a message, to its JSON value."""

_Constants = tuple[tuple[str, Any], ...]


class EncodeCompiler:
    """Compiles descriptors, each once."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[Descriptor, str], Encode] = {}

    def message(self, descriptor: Descriptor, constants: _Constants = ()) -> Encode:
        """The closure for a message; `constants` are keys that its union writes into its object."""
        memo = (descriptor, repr(constants))
        if memo not in self._compiled:
            # A message that contains itself meets this while it is being compiled, and looks its closure up when it runs.
            self._compiled[memo] = partial(self._late, memo)
            self._compiled[memo] = self._new(descriptor, constants)
        return self._compiled[memo]

    def _late(self, memo: tuple[Descriptor, str], message: Any) -> Any:
        return self._compiled[memo](message)

    def object_without(self, shape: ObjectShape, name: str) -> Encode:
        """The closure for the object of a message, but without the field `name`."""
        return self._object(shape.constants, [field for field in shape.fields if field.name != name], shape.catch_all)

    def _new(self, descriptor: Descriptor, constants: _Constants) -> Encode:
        match shape_of(descriptor):
            case ListShape() as shape:
                return _encode_wrapped(shape.items.name, self._field(shape.items))
            case UnionShape() as shape:
                return self._union(shape, constants)
            case ObjectShape() as shape:
                return self._object({**dict(constants), **shape.constants}, shape.fields, shape.catch_all)

    def _union(self, shape: UnionShape, constants: _Constants) -> Encode:
        members: dict[str, Encode] = {shape.unknown: Fragment} if shape.unknown else {}
        for member in shape.members:
            added = ((shape.discriminator, member.options.tags[0]),) if shape.is_tagged(member) else ()
            members[member.name] = self._value(member, (*constants, *added)) or _as_it_is
        return _encode_union(shape.oneof, members)

    def _object(self, constants: Mapping[str, Any], fields: Iterable[Field], catch_all: str) -> Encode:
        template = dict(constants)
        groups = _Groups([], [], [], [])
        for field in fields:
            encode = self._field(field)
            key, name, has_presence = field.key, field.name, field.descriptor.has_presence
            if field.options.always or (encode is None and not has_presence):
                template[key] = field.unset
            if encode is None:
                (groups.optional if has_presence else groups.plain).append((key, name))
            else:
                (groups.present if has_presence else groups.filled).append((key, name, encode))
        return _encode_object(template, groups, catch_all)

    def _field(self, field: Field) -> Encode | None:
        """The closure for a field, None for one whose value is written as it is."""
        one = self._value(field)
        if field.is_map:
            return _encode_map(one)
        return _encode_list(one) if field.is_list else one

    def _value(self, field: Field, constants: _Constants = ()) -> Encode | None:
        match field.value:
            case Value.MESSAGE:
                return self.message(field.message, constants)
            case Value.RAW:
                return Fragment
            case Value.FLOATS:
                return packed.numbers
            case Value.BYTES:
                return packed.to_base64
            case Value.ENUM:
                return _encode_enum(enum_names(field.element.enum_type))
            case _:
                return None


class _Groups(NamedTuple):
    """Fields, each as key, name and how it is written, grouped by what tells that there is something to write.

    Scalars without presence; scalars with presence; what is converted and has presence; what is converted and written
    when it is not empty.
    """

    plain: list[tuple[str, str]]
    optional: list[tuple[str, str]]
    present: list[tuple[str, str, Encode]]
    filled: list[tuple[str, str, Encode]]


def _encode_object(template: dict[str, Any], groups: _Groups, catch_all: str) -> Encode:
    plain, optional, present, filled = groups

    def encode(message: Any) -> dict[str, Any]:
        out = template.copy()
        for key, name in plain:
            out[key] = getattr(message, name)
        has = message.HasField
        for key, name in optional:
            if has(name):
                out[key] = getattr(message, name)
        for key, name, convert in present:
            if has(name):
                out[key] = convert(getattr(message, name))
        for key, name, convert in filled:
            if value := getattr(message, name):
                out[key] = convert(value)
        if catch_all and (rest := getattr(message, catch_all)):
            out.update(orjson.loads(rest))
        return out

    return encode


def _encode_union(oneof: str, members: Mapping[str, Encode]) -> Encode:
    def encode(message: Any) -> Any:
        name = message.WhichOneof(oneof)
        return None if name is None else members[name](getattr(message, name))

    return encode


def _encode_wrapped(name: str, items: Encode | None) -> Encode:
    convert = items or list

    def encode(message: Any) -> Any:
        return convert(getattr(message, name))

    return encode


def _encode_list(one: Encode | None) -> Encode:
    if one is None:
        return list

    def encode(values: Iterable[Any]) -> list[Any]:
        return [one(value) for value in values]

    return encode


def _encode_map(one: Encode | None) -> Encode:
    if one is None:
        return dict

    def encode(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: one(value) for key, value in values.items()}

    return encode


def _encode_enum(names: Mapping[int, str]) -> Encode:
    def encode(number: int) -> str | int:
        # A number that a newer peer sent has no name here.
        return names.get(number, number)

    return encode


def _as_it_is(value: Any) -> Any:
    return value


ENCODERS: Final = EncodeCompiler()
"""The encoders of this process."""
