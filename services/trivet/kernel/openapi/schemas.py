"""JSON schemas of messages, with the same reading of the options as the codec and the validator."""

from collections.abc import Collection, Mapping
from itertools import chain, count
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from trivet.kernel.codec.shape import (
    Field,
    ListShape,
    ObjectShape,
    ShapeError,
    UnionShape,
    Value,
    enum_names,
    fields_of,
    shape_of,
)

Schema = dict[str, Any]

_LOCATION = "#/components/schemas/"
_INTEGER_FORMATS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_INT32: {"format": "int32"},
    FieldDescriptor.CPPTYPE_INT64: {"format": "int64"},
    FieldDescriptor.CPPTYPE_UINT32: {"format": "int64", "minimum": 0},
    FieldDescriptor.CPPTYPE_UINT64: {"minimum": 0},
}


class _Told(NamedTuple):
    """The discriminator that a union has put into its member: any of `tags`, or absent where it is implied."""

    key: str
    tags: tuple[str, ...]
    implied_by: str

    @property
    def schema(self) -> Schema:
        return {"const": self.tags[0]} if len(self.tags) == 1 else {"enum": list(self.tags)}


_Tolds = tuple[_Told, ...]


class Schemas:
    """Collects the schemas of messages as components of one OpenAPI document.

    `requests` are the messages that callers write. Of all others, which only we write, the keys that the encoder writes
    always are required too.
    """

    def __init__(self, prose: Mapping[str, str], requests: Collection[Descriptor]) -> None:
        self.components: dict[str, Schema] = {}
        self._prose = prose
        self._requests = requests
        self._names: dict[tuple[Descriptor, _Tolds], str] = {}

    def reference(self, descriptor: Descriptor, told: _Tolds = ()) -> Schema:
        """A reference to the schema of a message, which is added to the components with all it needs."""
        key = (descriptor, told)
        if key not in self._names:
            name = self._names[key] = self._free_name(descriptor, told)
            self.components[name] = {}  # A message that contains itself meets its own name.
            self.components[name] = self._described(descriptor.full_name, self._message(descriptor, told))
        return {"$ref": _LOCATION + self._names[key]}

    def object_without(self, descriptor: Descriptor, name: str) -> Schema:
        """The schema of a message that is an object, without the field `name`; not added to the components."""
        match shape_of(descriptor):
            case ObjectShape() as shape:
                fields = [field for field in shape.fields if field.name != name]
                return self._object(descriptor, shape.constants, fields, ())
            case _:
                raise ShapeError(descriptor.full_name, "it is no object")

    def query_parameter(self, field: Field) -> Schema:
        """The parameter of an operation that gives a field in the query."""
        told = {"name": field.key, "in": "query", "required": bool(field.options.required), "schema": self._field(field)}
        if field.is_map:
            told |= {"style": "deepObject", "explode": True}
        return self._described(field.descriptor.full_name, told)

    def _free_name(self, descriptor: Descriptor, told: _Tolds) -> str:
        """The noun of the package and the message's name; the tag is added for a message that has several."""
        name = descriptor.full_name.removeprefix("trivet.").replace(".v1.", ".")
        tagged = ".".join([name, *(one.tags[0] for one in told)])
        taken = self.components
        return next(free for free in chain([name, tagged], (f"{tagged}.{n}" for n in count(2))) if free not in taken)

    def _message(self, descriptor: Descriptor, told: _Tolds) -> Schema:
        match shape_of(descriptor):
            case ListShape() as shape:
                return self._field(shape.items)
            case UnionShape() as shape:
                return self._union(shape, told)
            case ObjectShape() as shape:
                return self._object(descriptor, shape.constants, shape.fields, told)

    def _object(self, descriptor: Descriptor, constants: Mapping[str, Any], fields: Collection[Field], told: _Tolds) -> Schema:
        properties = {one.key: one.schema for one in told}
        properties |= {key: {"const": value} for key, value in constants.items()}
        properties |= {field.key: self._described(field.descriptor.full_name, self._property(field)) for field in fields}
        required = [one.implied_by or one.key for one in told]
        required += [field.key for field in fields if field.options.required or self._always_there(descriptor, field)]
        if descriptor not in self._requests:
            required += constants
        told_required = {"required": sorted(set(required))} if required else {}
        return {"type": "object", "properties": properties, **told_required, **_exclusive(descriptor)}

    def _always_there(self, descriptor: Descriptor, field: Field) -> bool:
        plain = field.value in (Value.STRING, Value.BOOLEAN, Value.INTEGER, Value.DOUBLE)
        is_written = plain and not field.descriptor.has_presence and not field.descriptor.is_repeated
        return descriptor not in self._requests and (field.options.always or is_written)

    def _property(self, field: Field) -> Schema:
        schema = self._field(field)
        if not schema or not field.options.always or field.options.required:
            return schema
        if field.unset is None:
            return {"anyOf": [schema, {"type": "null"}]}
        # What stands for an unset message need not be a form of that message.
        odd = field.options.unset and field.value is Value.MESSAGE
        return {"anyOf": [schema, {"const": field.unset}]} if odd else schema

    def _field(self, field: Field) -> Schema:
        if not field.descriptor.is_repeated:
            return self._value(field) | _limits(field, _LIMITS_OF.get(field.value, ()))
        if field.is_map:
            limits = _limits(field, ("minProperties", "maxProperties"))
            return {"type": "object", "additionalProperties": self._value(field), **limits}
        return {"type": "array", "items": self._value(field), **_limits(field, ("minItems", "maxItems"))}

    def _value(self, field: Field, told: _Tolds = ()) -> Schema:
        match field.value:
            case Value.MESSAGE:
                return self.reference(field.message, told)
            case Value.RAW:
                return {}
            case Value.BOOLEAN:
                return {"type": "boolean"}
            case Value.BYTES:
                return {"type": "string", "contentEncoding": "base64"}
            case Value.FLOATS:
                return {"type": "array", "items": {"type": "number", "format": "float"}}
            case Value.DOUBLE:
                return {"type": "number", "format": "double"}
            case Value.INTEGER:
                return {"type": "integer", **_INTEGER_FORMATS[field.element.cpp_type]}
            case Value.ENUM:
                names = enum_names(field.element.enum_type)
                return {"type": "string", "enum": [name for number, name in names.items() if number]}
            case Value.STRING:
                return {"type": "string"} | ({"enum": list(field.options.one_of)} if field.options.one_of else {})

    def _union(self, shape: UnionShape, told: _Tolds) -> Schema:
        tagged = [member for member in shape.members if shape.is_tagged(member)]
        choices: list[Schema] = []
        mapping: dict[str, str] = {}
        for member in tagged:
            tags = tuple(member.options.tags)
            choice = self._value(member, (*told, _Told(shape.discriminator, tags, member.options.implied_by)))
            choices.append(choice)
            mapping.update((tag, choice["$ref"]) for tag in tags)
        choices += [
            self._described(member.descriptor.full_name, self._value(member, told))
            for member in shape.members
            if member not in tagged
        ]
        if shape.unknown:
            unknown = f"{shape.descriptor.full_name}.{shape.unknown}"
            choices.append(self._described(unknown, _any_other_tag(shape.discriminator, list(mapping))))
        if not mapping:
            # A member that takes anything makes `oneOf` too narrow.
            return {"anyOf": choices}
        if len(choices) > len(tagged):
            # A discriminator is for references alone.
            return {"oneOf": choices}
        return {"oneOf": choices, "discriminator": {"propertyName": shape.discriminator, "mapping": mapping}}

    def _described(self, full_name: str, schema: Schema) -> Schema:
        prose = self._prose.get(full_name)
        return schema | {"description": prose} if prose else schema


def _any_other_tag(discriminator: str, tags: list[str]) -> Schema:
    if not discriminator:
        return {}
    other = {"type": "string", "not": {"enum": tags}}
    return {"type": "object", "properties": {discriminator: other}, "required": [discriminator]}


_LIMITS_OF: dict[Value, tuple[str, ...]] = {
    Value.STRING: ("minLength", "maxLength"),
    Value.INTEGER: ("minimum", "maximum"),
    Value.DOUBLE: ("minimum", "maximum"),
}


def _exclusive(descriptor: Descriptor) -> Schema:
    """Of the keys of a oneof exactly one is there, where the contract wants one."""
    shape = shape_of(descriptor)
    groups = list(shape.required_oneofs.values()) if isinstance(shape, ObjectShape) else []
    choices = [{"oneOf": [{"required": [key]} for key in keys]} for keys in groups]
    return choices[0] if len(choices) == 1 else {"allOf": choices} if choices else {}


def _limits(field: Field, keywords: tuple[str, ...]) -> Schema:
    """The range of a field under the schema keywords for its kind; no keywords, no range."""
    if not keywords:
        return {}
    least, greatest = keywords
    options = field.options
    limits: Schema = {}
    if options.HasField("minimum"):
        limits[least] = _number(options.minimum)
    elif options.required and least != "minimum":
        limits[least] = 1
    if options.HasField("maximum"):
        limits[greatest] = _number(options.maximum)
    return limits


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def reachable(descriptors: Collection[Descriptor]) -> set[Descriptor]:
    """These messages, and all that they can contain."""
    found: set[Descriptor] = set()
    waiting = list(descriptors)
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            shown = [field for field in fields_of(current) if not field.options.hidden]
            waiting += [field.message for field in shown if field.value is Value.MESSAGE]
    return found
