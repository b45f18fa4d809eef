"""Hypothesis strategies made from descriptors: JSON as the contract writes it, and JSON as nobody should.

What `json_of` draws is canonical: encoding what was decoded of it must give it back. It keeps the rules of the options, so
that it is also valid for the validator and for the JSON schemas.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor
from hypothesis import strategies as st

from trivet.kernel.codec.packed import to_base64
from trivet.kernel.codec.shape import Field, ListShape, ObjectShape, UnionShape, Value, enum_names, fields_of, shape_of

Draw = Callable[[st.SearchStrategy[Any]], Any]

DEEPEST = 7
MOST_OPTIONAL = 4

TEXT = st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=4)


@st.composite
def json_of(draw: Draw, descriptor: Descriptor, *, unknown_keys: bool = False) -> Any:
    """JSON of a message; with `unknown_keys`, objects that can keep them have some, and nulls for keys that are known."""
    return _Writer(draw, unknown_keys=unknown_keys).message(descriptor, {}, 0)


@st.composite
def spoilt_json_of(draw: Draw, descriptor: Descriptor) -> Any:
    """JSON of a message in which some values were replaced by any others, or are gone."""
    value = draw(json_of(descriptor, unknown_keys=True))
    for _ in range(draw(st.integers(1, 3))):
        value = _spoilt(draw, value)
    return value


def _spoilt(draw: Draw, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 3)) == 0:
        return draw(JSON)
    if isinstance(value, list):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], _spoilt(draw, value[index]), *value[index + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    if draw(st.integers(0, 4)) == 0:
        return {name: item for name, item in value.items() if name != key}
    return value | {key: _spoilt(draw, value[key])}


class _Writer:
    """Draws the JSON of one message, member by member as the codec reads them."""

    def __init__(self, draw: Draw, *, unknown_keys: bool) -> None:
        self._draw = draw
        self._unknown_keys = unknown_keys

    def message(self, descriptor: Descriptor, told: dict[str, Any], depth: int) -> Any:
        match shape_of(descriptor):
            case ListShape() as shape:
                return self._list(shape.items, depth, least=0)
            case UnionShape() as shape:
                return self._union(shape, told, depth)
            case ObjectShape() as shape:
                return self._object(shape, told, depth)

    def _union(self, shape: UnionShape, told: dict[str, Any], depth: int) -> Any:
        choices: list[Any] = list(shape.members)
        if shape.unknown and depth < DEEPEST:
            choices.append(None)
        member = self._draw(st.sampled_from(choices))
        if member is None:
            return self._unknown(shape)
        if not shape.is_tagged(member):
            return self._value(member, told, depth + 1)
        # Another tag than the first survives only where it can be kept.
        tags = list(member.options.tags) if _keeps(member.message) else [member.options.tags[0]]
        return self._value(member, told | {shape.discriminator: self._draw(st.sampled_from(tags))}, depth + 1)

    def _unknown(self, shape: UnionShape) -> Any:
        if shape.discriminator:
            return self._draw(st.dictionaries(TEXT, JSON, max_size=2)) | {shape.discriminator: "tag of tomorrow"}
        told_by = {type(value) for value in ("", 0, 0.0, False, [], {})}
        for member in shape.members:
            told_by -= _types(member)
        return self._draw(JSON.filter(lambda value: value is not None and type(value) in told_by)) if told_by else "x"

    def _object(self, shape: ObjectShape, told: dict[str, Any], depth: int) -> dict[str, Any]:
        out = told | shape.constants
        optional = [field for field in shape.fields if not self._must_be_there(field)]
        least = st.just([]) if depth >= DEEPEST or not optional else st.lists(st.sampled_from(optional), max_size=MOST_OPTIONAL)
        chosen = {field.key for field in self._draw(least)}
        for group in shape.exclusive:
            chosen -= set(sorted(chosen & set(group.values()))[1:])
        for keys in shape.required_oneofs.values():
            if not chosen.intersection(keys):
                chosen.add(self._draw(st.sampled_from(keys)))
        for field in shape.fields:
            if field.key in chosen or field.options.required or not _is_optional(field):
                out[field.key] = self._field(field, depth)
            elif field.options.always:
                out[field.key] = field.unset
        if shape.catch_all and self._unknown_keys:
            out = self._rest(shape, told) | out
        return out

    def _rest(self, shape: ObjectShape, told: dict[str, Any]) -> dict[str, Any]:
        known = {field.key for field in shape.fields} | set(shape.constants) | set(told)
        nulls = [field.key for field in shape.fields if _is_optional(field) and not field.options.always]
        rest = self._draw(st.dictionaries(TEXT.filter(lambda key: key not in known), JSON, max_size=2))
        if nulls:
            rest |= dict.fromkeys(self._draw(st.lists(st.sampled_from(nulls), max_size=1)))
        return rest

    def _must_be_there(self, field: Field) -> bool:
        return bool(field.options.required) or not _is_optional(field)

    def _field(self, field: Field, depth: int) -> Any:
        if field.is_list:
            # An empty list is written only where it is what the encoder writes for nothing.
            return self._list(field, depth, least=1 if field.options.required or field.unset != [] else 0) or [
                self._value(field, {}, depth + 1)
            ]
        if field.is_map:
            keys = self._draw(st.lists(TEXT, min_size=1, max_size=2, unique=True))
            return {key: self._value(field, {}, depth + 1) for key in keys}
        return self._value(field, {}, depth + 1)

    def _list(self, field: Field, depth: int, *, least: int) -> list[Any]:
        options = field.options
        least = max(least, int(options.minimum)) if options.HasField("minimum") else least
        most = min(2, int(options.maximum)) if options.HasField("maximum") else 2
        size = self._draw(st.integers(least, max(least, most if depth < DEEPEST else least)))
        return [self._value(field, {}, depth + 1) for _ in range(size)]

    def _value(self, field: Field, told: dict[str, Any], depth: int) -> Any:
        if field.value is Value.MESSAGE:
            return self.message(field.message, told, depth)
        return self._draw(_scalar(field))


def _scalar(field: Field) -> st.SearchStrategy[Any]:
    options = field.options
    least = options.minimum if options.HasField("minimum") else None
    greatest = options.maximum if options.HasField("maximum") else None
    match field.value:
        case Value.BOOLEAN:
            return st.booleans()
        case Value.RAW:
            return JSON.filter(lambda value: value is not None)
        case Value.ENUM:
            return st.sampled_from([name for number, name in enum_names(field.element.enum_type).items() if number])
        case Value.BYTES:
            return st.binary(max_size=6).map(to_base64)
        case Value.FLOATS:
            return st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3)
        case Value.DOUBLE:
            return st.floats(least, greatest, allow_nan=False, allow_infinity=False)
        case Value.INTEGER:
            lowest, highest = field.integer_range
            zero_is_missing = options.required and not field.descriptor.has_presence
            lowest = max(lowest, 1 if zero_is_missing else lowest, int(least) if least is not None else lowest)
            return st.integers(lowest, min(highest, int(greatest) if greatest is not None else highest))
        case _:
            if options.one_of:
                return st.sampled_from(list(options.one_of))
            shortest = max(1 if options.required else 0, int(least or 0))
            return st.text(min_size=shortest, max_size=max(shortest, min(6, int(greatest or 6))))


def _is_optional(field: Field) -> bool:
    """Whether the key can be absent, or written for nothing; a scalar without presence is always written."""
    plain = field.value in (Value.STRING, Value.BOOLEAN, Value.INTEGER, Value.DOUBLE)
    return field.descriptor.has_presence or field.descriptor.is_repeated or not plain


def _keeps(descriptor: Descriptor) -> bool:
    shape = shape_of(descriptor)
    return isinstance(shape, ObjectShape) and bool(shape.catch_all)


def _types(member: Field) -> set[type]:
    """The Python types of the JSON values that a member told by its kind takes."""
    simple: dict[Value, set[type]] = {
        Value.BOOLEAN: {bool},
        Value.INTEGER: {int, float},
        Value.DOUBLE: {int, float},
        Value.FLOATS: {list},
    }
    if member.value is not Value.MESSAGE:
        return simple.get(member.value, {str})
    match shape_of(member.message):
        case ListShape():
            return {list}
        case ObjectShape():
            return {dict}
        case UnionShape() as shape:
            inner = [_types(field) for field in fields_of(shape.descriptor) if not field.options.unknown]
            return set().union(*inner) | ({dict} if shape.discriminator else set())
