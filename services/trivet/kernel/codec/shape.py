"""What a message looks like in JSON: descriptors and their REST options read once into plain values.

This is the only reader of the options: the codec, the validator and the OpenAPI document are compiled from shapes.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from typing import Any, cast

import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from trivet.rest.v1 import annotations_pb2

_FORM = annotations_pb2.JsonMessage
_INTEGERS: dict[int, tuple[int, int]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class ShapeError(TypeError):
    """A descriptor whose JSON form the options leave open or contradict: a mistake in a proto file."""

    def __init__(self, full_name: str, problem: str) -> None:
        super().__init__(f"{full_name}: {problem}")


class Kind(Enum):
    """The JSON kinds, each with the words that errors use for it."""

    STRING = "a string"
    NUMBER = "a number"
    BOOLEAN = "a boolean"
    ARRAY = "an array"
    OBJECT = "an object"
    NULL = "null"


_KINDS: dict[type, Kind] = {
    str: Kind.STRING,
    int: Kind.NUMBER,
    float: Kind.NUMBER,
    bool: Kind.BOOLEAN,
    list: Kind.ARRAY,
    dict: Kind.OBJECT,
    type(None): Kind.NULL,
}


def kind_of(value: Any) -> Kind:
    """The kind of a JSON value as Python holds it."""
    return _KINDS[type(value)]


class Value(Enum):
    """How one value of a field is held: what its elements are, when it is repeated or a map."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    DOUBLE = "double"
    ENUM = "enum"
    RAW = "raw"
    BYTES = "bytes"
    FLOATS = "floats"
    MESSAGE = "message"


@dataclass(frozen=True)
class Field:
    """A field of a message and the JSON key it stands for."""

    descriptor: FieldDescriptor
    options: annotations_pb2.JsonField
    is_map: bool

    @property
    def name(self) -> str:
        return self.descriptor.name

    @property
    def key(self) -> str:
        return self.options.key or self.descriptor.name

    @property
    def is_list(self) -> bool:
        return self.descriptor.is_repeated and not self.is_map

    @cached_property
    def element(self) -> FieldDescriptor:
        """The descriptor of one value: the map's value field for a map, else the field itself."""
        return self.descriptor.message_type.fields_by_name["value"] if self.is_map else self.descriptor  # type: ignore[union-attr]

    @property
    def message(self) -> Descriptor:
        """The descriptor of the message that one value is; only for `Value.MESSAGE`."""
        return cast("Descriptor", self.element.message_type)

    @cached_property
    def value(self) -> Value:
        """How one value is held; raises `ShapeError` for what has no JSON form here."""
        if self.options.raw or self.options.unknown:
            return Value.RAW
        if self.element.type == FieldDescriptor.TYPE_BYTES:
            return Value.FLOATS if self.options.float32s else Value.BYTES
        cpp_type = self.element.cpp_type
        if cpp_type in _INTEGERS:
            return Value.INTEGER
        known = {
            FieldDescriptor.CPPTYPE_STRING: Value.STRING,
            FieldDescriptor.CPPTYPE_BOOL: Value.BOOLEAN,
            FieldDescriptor.CPPTYPE_DOUBLE: Value.DOUBLE,
            FieldDescriptor.CPPTYPE_ENUM: Value.ENUM,
            FieldDescriptor.CPPTYPE_MESSAGE: Value.MESSAGE,
        }
        if cpp_type not in known:
            raise ShapeError(self.descriptor.full_name, "a float loses something in JSON")
        return known[cpp_type]

    @property
    def integer_range(self) -> tuple[int, int]:
        return _INTEGERS[self.element.cpp_type]

    @property
    def empty(self) -> Any:
        """The JSON value that an empty field of this kind would be: [] for a list, {} for a map, else null."""
        return {} if self.is_map else [] if self.is_list else None

    @property
    def unset(self) -> Any:
        """The JSON value written for the unset field, where it is written always."""
        return orjson.loads(self.options.unset) if self.options.unset else self.empty


@dataclass(frozen=True)
class ObjectShape:
    """An object with one key per field; `catch_all` names the field with the other keys, "" if there is none."""

    descriptor: Descriptor
    fields: tuple[Field, ...]
    constants: dict[str, Any]
    catch_all: str

    @property
    def exclusive(self) -> list[dict[str, str]]:
        """For each oneof the keys of its fields, of which only one can be given, by the fields' names."""
        members = {oneof.name: {field.name for field in oneof.fields} for oneof in self.descriptor.oneofs}
        groups = [{field.name: field.key for field in self.fields if field.name in names} for names in members.values()]
        # An optional field is alone in a oneof of its own.
        return [group for group in groups if len(group) > 1]

    @property
    def required_oneofs(self) -> dict[str, list[str]]:
        """The oneofs of which one field must be given: name -> the keys of its fields."""
        marked = [one for one in self.descriptor.oneofs if one.GetOptions().Extensions[annotations_pb2.oneof].required]
        keys = {field.name: field.key for field in self.fields}
        return {oneof.name: [keys[field.name] for field in oneof.fields] for oneof in marked}


@dataclass(frozen=True)
class UnionShape:
    """One of several members; `unknown` names the raw member for what the others do not take, "" if there is none."""

    descriptor: Descriptor
    oneof: str
    discriminator: str
    members: tuple[Field, ...]
    unknown: str

    def is_tagged(self, member: Field) -> bool:
        """Whether the discriminator tells this member; the JSON kind does otherwise."""
        return bool(self.discriminator and member.options.tags)


@dataclass(frozen=True)
class ListShape:
    """An array of the elements of its only field."""

    descriptor: Descriptor
    items: Field


Shape = ObjectShape | UnionShape | ListShape


@cache
def shape_of(descriptor: Descriptor) -> Shape:
    """The JSON form of a message; raises `ShapeError` where options and fields contradict each other."""
    options = descriptor.GetOptions().Extensions[annotations_pb2.message]
    if options.form == _FORM.FORM_UNION:
        return _union(descriptor, options.discriminator)
    if options.form == _FORM.FORM_LIST:
        fields = fields_of(descriptor)
        if len(fields) != 1 or not fields[0].is_list:
            raise ShapeError(descriptor.full_name, "a list has one field, and it is repeated")
        return ListShape(descriptor, fields[0])
    return _object(descriptor, {constant.key: orjson.loads(constant.value) for constant in options.constants})


@cache
def fields_of(descriptor: Descriptor) -> tuple[Field, ...]:
    """Every field of a message, also those that have no key of their own in its JSON."""
    return tuple(_field(field) for field in descriptor.fields)


def _field(descriptor: FieldDescriptor) -> Field:
    entry = descriptor.message_type
    is_map = entry is not None and entry.GetOptions().map_entry
    if is_map and cast("Descriptor", entry).fields_by_name["key"].type != FieldDescriptor.TYPE_STRING:
        raise ShapeError(descriptor.full_name, "the keys of a map are strings")
    return Field(descriptor, descriptor.GetOptions().Extensions[annotations_pb2.field], is_map)


def _object(descriptor: Descriptor, constants: dict[str, Any]) -> ObjectShape:
    fields = fields_of(descriptor)
    catch_alls = [field.name for field in fields if field.options.catch_all]
    if len(catch_alls) > 1:
        raise ShapeError(descriptor.full_name, "more than one field catches all")
    shown = tuple(field for field in fields if not field.options.catch_all and not field.options.hidden)
    keys = [field.key for field in shown] + list(constants)
    if len(set(keys)) < len(keys):
        raise ShapeError(descriptor.full_name, "a JSON key is taken twice")
    return ObjectShape(descriptor, shown, constants, catch_alls[0] if catch_alls else "")


def _union(descriptor: Descriptor, discriminator: str) -> UnionShape:
    fields = fields_of(descriptor)
    if len(descriptor.oneofs) != 1 or any(field.descriptor.containing_oneof is None for field in fields):
        raise ShapeError(descriptor.full_name, "a union is one oneof with all fields in it")
    unknown = [field.name for field in fields if field.options.unknown]
    members = tuple(field for field in fields if not field.options.unknown and not field.options.hidden)
    shape = UnionShape(descriptor, descriptor.oneofs[0].name, discriminator, members, unknown[0] if unknown else "")
    told: list[object] = []
    for member in members:
        if shape.is_tagged(member) and member.value is not Value.MESSAGE:
            raise ShapeError(member.descriptor.full_name, "only a message has a place for the discriminator")
        if shape.is_tagged(member) and discriminator in {field.key for field in fields_of(member.message)}:
            raise ShapeError(member.descriptor.full_name, "the discriminator is a field of the member, too")
        told += member.options.tags if shape.is_tagged(member) else kinds(member)
    if len(set(told)) < len(told):
        raise ShapeError(descriptor.full_name, "two members are told by the same value")
    return shape


def kinds(member: Field) -> list[Kind]:
    """The JSON kinds that a member of a union takes when its kind is what tells it."""
    if member.value is not Value.MESSAGE:
        simple = {
            Value.BOOLEAN: Kind.BOOLEAN,
            Value.INTEGER: Kind.NUMBER,
            Value.DOUBLE: Kind.NUMBER,
            Value.FLOATS: Kind.ARRAY,
        }
        if member.value is Value.RAW:
            raise ShapeError(member.descriptor.full_name, "a raw member is the unknown one")
        return [simple.get(member.value, Kind.STRING)]
    shape = shape_of(member.message)
    if isinstance(shape, ListShape):
        return [Kind.ARRAY]
    if isinstance(shape, ObjectShape):
        return [Kind.OBJECT]
    untagged = [kind for inner in shape.members if not shape.is_tagged(inner) for kind in kinds(inner)]
    return ([Kind.OBJECT] if shape.discriminator else []) + untagged


@cache
def enum_names(descriptor: EnumDescriptor) -> dict[int, str]:
    """The JSON names of an enum's numbers: lower case, without the prefix of the enum's own name."""
    shared = "".join(f"_{char}" if char.isupper() else char.upper() for char in descriptor.name).lstrip("_") + "_"
    return {value.number: value.name.removeprefix(shared).lower() for value in descriptor.values}
