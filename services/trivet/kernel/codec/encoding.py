"""Messages to JSON values: a descriptor is compiled to a closure from a message to what orjson can write.

The keys that are always there come first, in the order of the fields; they are one dict that is copied for each message.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
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
        members: dict[FieldDescriptor, Encode | None] = {}
        for member in shape.members:
            added = ((shape.discriminator, member.options.tags[0]),) if shape.is_tagged(member) else ()
            members[member.descriptor] = self._value(member, (*constants, *added))
        if shape.unknown:
            members[shape.descriptor.fields_by_name[shape.unknown]] = Fragment
        return _encode_union(members)

    def _object(self, constants: Mapping[str, Any], fields: Iterable[Field], catch_all: str) -> Encode:
        template = dict(constants)
        written: dict[FieldDescriptor, tuple[str, Encode | None]] = {}
        for field in fields:
            encode = self._field(field)
            written[field.descriptor] = field.key, encode
            if encode is None and not field.descriptor.has_presence:
                template[field.key] = field.descriptor.default_value
            elif field.options.always:
                template[field.key] = field.unset
        return _encode_object(template, written, catch_all)

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


def _encode_object(
    template: dict[str, Any], written: Mapping[FieldDescriptor, tuple[str, Encode | None]], catch_all: str
) -> Encode:
    """`template` has what is there always, `written` the key of each field and how its value is written."""

    def encode(message: Any) -> dict[str, Any]:
        out = template.copy()
        # All that is set, in one call: to ask for each field that could be costs more than all else.
        for field, value in message.ListFields():
            entry = written.get(field)
            if entry is not None:
                key, convert = entry
                out[key] = value if convert is None else convert(value)
        if catch_all and (rest := getattr(message, catch_all)):
            out.update(orjson.loads(rest))
        return out

    return encode


def _encode_union(members: Mapping[FieldDescriptor, Encode | None]) -> Encode:
    def encode(message: Any) -> Any:
        for field, value in message.ListFields():
            convert = members[field]
            return value if convert is None else convert(value)
        return None

    return encode


def _encode_wrapped(name: str, items: Encode | None) -> Encode:
    convert = items or list

    def encode(message: Any) -> Any:
        return convert(getattr(message, name))

    return encode


def _encode_list(one: Encode | None) -> Encode:
    if one is None:
        return list

    def encode(values: Sequence[Any]) -> list[Any]:
        # A copy of the list: to iterate over what protobuf has instead is slower than to make it.
        return [one(value) for value in values[:]]

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


ENCODERS: Final = EncodeCompiler()
"""The encoders of this process."""
