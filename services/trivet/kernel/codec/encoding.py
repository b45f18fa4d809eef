"""Messages to JSON values: a descriptor is compiled to a closure from a message to what orjson can write.

The keys that are always there come first, in the order of the fields; they are one dict that is copied for each message.
"""

from collections.abc import Callable, Iterable, Mapping
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

_Members = dict[FieldDescriptor, Encode | None]
"""How each member of a union is written; None for one that is written as it is."""

_Entry = tuple[str, Encode | None, bool, _Members | None]
"""How a field is written: `key, convert, many, members`; a class with names would be slower to take apart.

`convert` writes the value, or each of `many`. Without it, what is set of the `members` of a union stands in the union's place, or of
each of `many`: to have it write itself would be one more call. All else is written as it is. What has no key is an object whose keys
stand beside the others.
"""

_REST: Final[_Entry] = "", orjson.loads, False, None
"""The field that holds, as a text, the keys that no field stands for."""

_HIDDEN: Final[_Entry] = "", lambda _: {}, False, None
"""A field that is not told."""


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
        return self._object(shape, shape.constants, [field for field in shape.fields if field.name != name])

    def members(self, shape: UnionShape) -> Mapping[FieldDescriptor, Encode | None]:
        """How the members of a union are written, for who writes unions without a call of their closure."""
        return self._union(shape, ())

    def _new(self, descriptor: Descriptor, constants: _Constants) -> Encode:
        match shape_of(descriptor):
            case ListShape() as shape:
                return self._wrapped(shape.items)
            case UnionShape() as shape:
                return _encode_union(self._union(shape, constants))
            case ObjectShape() as shape:
                return self._object(shape, {**dict(constants), **shape.constants}, shape.fields)

    def _union(self, shape: UnionShape, constants: _Constants) -> _Members:
        members: _Members = {}
        for member in shape.members:
            added = ((shape.discriminator, member.options.tags[0]),) if shape.is_tagged(member) else ()
            members[member.descriptor] = self._value(member, (*constants, *added))
        if shape.unknown:
            members[shape.descriptor.fields_by_name[shape.unknown]] = Fragment
        return members

    def _object(self, shape: ObjectShape, constants: Mapping[str, Any], fields: Iterable[Field]) -> Encode:
        template = dict(constants)
        written = dict.fromkeys(shape.descriptor.fields, _HIDDEN)
        if shape.catch_all:
            written[shape.descriptor.fields_by_name[shape.catch_all]] = _REST
        for field in fields:
            entry = written[field.descriptor] = self._entry(field)
            if entry == (field.key, None, False, None) and not field.descriptor.has_presence:
                template[field.key] = field.descriptor.default_value
            elif field.options.always:
                template[field.key] = field.unset
        return _encode_object(template, written)

    def _entry(self, field: Field) -> _Entry:
        if field.is_map:
            return field.key, _encode_map(self._value(field)), False, None
        if members := self._members(field):
            return field.key, None, field.is_list, members
        one = self._value(field)
        return (field.key, one or list, one is not None, None) if field.is_list else (field.key, one, False, None)

    def _wrapped(self, items: Field) -> Encode:
        """The closure for a message that is the list of these."""
        members = self._members(items)
        return _encode_unions(members, items.name) if members else _encode_wrapped(self._value(items), items.name)

    def _members(self, field: Field) -> _Members | None:
        """The members of the union that one value of a field is; None if it is none."""
        shape = shape_of(field.message) if field.value is Value.MESSAGE else None
        return self._union(shape, ()) if isinstance(shape, UnionShape) else None

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


def _encode_object(template: dict[str, Any], written: Mapping[FieldDescriptor, _Entry]) -> Encode:
    """`template` has what is there always, `written` how each field is."""

    def encode(message: Any) -> dict[str, Any]:
        out, rest = template.copy(), None
        # All that is set, in one call: to ask for each field that could be costs more than all else.
        for field, value in message.ListFields():
            key, convert, many, members = written[field]
            if convert is not None:
                if many:
                    # A copy of the list: to iterate over what protobuf has instead is slower than to make it.
                    out[key] = list(map(convert, value[:]))
                elif key:
                    out[key] = convert(value)
                else:
                    rest = convert(value) or rest
            elif members is None:
                out[key] = value
            else:
                told: list[Any] = []
                for union in value[:] if many else (value,):
                    told.append(None)
                    for member, inner in union.ListFields():
                        convert = members[member]
                        told[-1] = inner if convert is None else convert(inner)
                out[key] = told if many else told[0]
        if rest:
            out.update(rest)
        return out

    return encode


def _encode_union(members: _Members) -> Encode:
    def encode(message: Any) -> Any:
        for field, value in message.ListFields():
            convert = members[field]
            return value if convert is None else convert(value)
        return None

    return encode


def _encode_unions(members: _Members, name: str) -> Encode:
    """The unions are those in the field `name` of a message."""

    def encode(message: Any) -> list[Any]:
        out: list[Any] = []
        for union in getattr(message, name)[:]:
            out.append(None)
            for member, value in union.ListFields():
                convert = members[member]
                out[-1] = value if convert is None else convert(value)
        return out

    return encode


def _encode_wrapped(one: Encode | None, name: str) -> Encode:
    if one is None:
        return lambda message: list(getattr(message, name))
    return lambda message: list(map(one, getattr(message, name)[:]))


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
