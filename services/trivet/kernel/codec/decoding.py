"""JSON values to messages.

A descriptor is compiled to a closure from a JSON value to a *tree*: the keyword arguments of the message class, nested
as protobuf takes them. The whole message is then built by one call into protobuf's C code, which costs half of setting
attributes one by one and never copies a submessage.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from google.protobuf.descriptor import Descriptor

from trivet.kernel.codec import scalars
from trivet.kernel.codec.refusal import RefusalError, expected, invalid, missing, one_of, shown
from trivet.kernel.codec.scalars import Decode
from trivet.kernel.codec.shape import (
    Field,
    Kind,
    ListShape,
    ObjectShape,
    UnionShape,
    Value,
    enum_names,
    kinds,
    shape_of,
)

MAX_DEPTH: Final = 64
"""The deepest nesting of messages in one another. A protobuf parser stops at 100, and ours may stand inside others."""

_Constants = tuple[tuple[str, Any], ...]


class _Never:
    """A type that no JSON value has, and a value that none equals."""


_Slot = tuple[str, type, str, Decode | None, Any, Any]
"""Where the value of a key goes: into the field `name`, or to the rest, which the field that catches all takes.

That is `name, exact, member, decode, empty, unset`; a class with names would be slower to take apart. A value of the type `exact` is
kept as it is, as the `member` of the field where that is a union; others go through `decode`. What the field cannot hold goes to the
rest: None and `empty`, or anything where `decode` is None. The value that the encoder writes by itself, `unset`, goes nowhere.
"""

_NOWHERE: _Slot = ("", _Never, "", None, None, _Never)
"""The slot of an unknown key."""

_EXACT: Final[Mapping[Value, type]] = {Value.STRING: str, Value.BOOLEAN: bool, Value.INTEGER: int}
"""What is kept as it is, because JSON has a type for it."""

_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.STRING: (str,),
    Kind.NUMBER: (int, float),
    Kind.BOOLEAN: (bool,),
    Kind.ARRAY: (list,),
    Kind.OBJECT: (dict,),
    Kind.NULL: (type(None),),
}

_Rest = Callable[[dict[str, Any]], dict[str, Any]]
"""From the pairs that no field holds to what they add to the tree."""


class DecodeCompiler:
    """Compiles descriptors for one attitude to the unexpected.

    `strict` is for requests: what no field can hold is an error. Otherwise, for the answers of a neighbour that may be
    newer than this contract, unknown keys are dropped where nothing catches them, and the `unknown` member of a union
    takes whatever no other member takes.

    Whether an integer is within the range of its field is left to protobuf, which looks anyway when it builds the message, but cannot
    tell where it was. A compiler that `judges` everything is for finding that out.
    """

    def __init__(self, *, strict: bool, judges: bool = False) -> None:
        self._strict = strict
        self._exact = {value: held for value, held in _EXACT.items() if not (judges and value is Value.INTEGER)}
        self._compiled: dict[tuple[Descriptor, str], Decode] = {}

    def message(self, descriptor: Descriptor, constants: _Constants = ()) -> Decode:
        """The closure for a message; `constants` are keys that its union writes into its object."""
        memo = (descriptor, repr(constants))
        if memo not in self._compiled:
            # A message that contains itself meets this while it is being compiled, and looks its closure up when it runs.
            self._compiled[memo] = partial(self._late, memo)
            self._compiled[memo] = self._new(descriptor, constants)
        return self._compiled[memo]

    def _late(self, memo: tuple[Descriptor, str], value: Any, depth: int) -> Any:
        return self._compiled[memo](value, depth)

    def _new(self, descriptor: Descriptor, constants: _Constants) -> Decode:
        match shape_of(descriptor):
            case ListShape() as shape:
                return _decode_wrapped(shape.items.name, self._field(shape.items))
            case UnionShape() as shape:
                return self._union(shape, constants)
            case ObjectShape() as shape:
                return self._object(shape, constants)

    def _object(self, shape: ObjectShape, constants: _Constants) -> Decode:
        slots = {key: (*_NOWHERE[:-1], value) for key, value in (*shape.constants.items(), *constants)}
        slots.update((field.key, self._slot(field)) for field in shape.fields)
        drop = _refuse_unknown(frozenset(slots)) if self._strict else _drop
        decode = _decode_object(slots, _catch_all(shape.catch_all) if shape.catch_all else drop)
        return _decode_exclusive(decode, shape.exclusive) if shape.exclusive else decode

    def _slot(self, field: Field) -> _Slot:
        exact, member = (_Never, "") if field.descriptor.is_repeated else self._kept(field)
        unset = field.unset if field.options.always else _Never
        return field.name, exact, member, self._field(field), field.empty, unset

    def _kept(self, field: Field) -> tuple[type, str]:
        """The type of which a value of a field is kept as it is, and the member that it is of a union."""
        shape = shape_of(field.message) if field.value is Value.MESSAGE else None
        if not isinstance(shape, UnionShape):
            return self._exact.get(field.value, _Never), ""
        texts = [member.name for member in shape.members if member.value is Value.STRING]
        return (str, texts[0]) if texts else (_Never, "")

    def _field(self, field: Field) -> Decode:
        one = self._value(field)
        if field.is_map:
            return _decode_map(one)
        if not field.is_list:
            return one
        shape = shape_of(field.message) if field.value is Value.MESSAGE else None
        if isinstance(shape, UnionShape) and shape.discriminator:
            return _decode_list_of_tagged(shape.discriminator, self._by_tag(shape, ()), one)
        return _decode_list(one, self._exact.get(field.value, _Never))

    def _value(self, field: Field, constants: _Constants = ()) -> Decode:
        match field.value:
            case Value.MESSAGE:
                return self.message(field.message, constants)
            case Value.INTEGER:
                return scalars.integer(*field.integer_range)
            case Value.ENUM:
                return scalars.enum({name: number for number, name in enum_names(field.element.enum_type).items()})
            case simple:
                return scalars.SIMPLE[simple]

    def _union(self, shape: UnionShape, constants: _Constants) -> Decode:
        by_kind: dict[Kind, _Member] = {}
        for member in shape.members:
            if not shape.is_tagged(member):
                by_kind.update(dict.fromkeys(kinds(member), (member.name, self._value(member, constants))))
        if not shape.discriminator:
            return _decode_by_kind(by_kind, shape.unknown)
        by_tag = self._by_tag(shape, constants)
        implied = [
            (member.options.implied_by, by_tag[member.options.tags[0]]) for member in shape.members if member.options.implied_by
        ]
        # Which of the objects it is, the discriminator tells; here they are only named among what is expected.
        by_kind.setdefault(Kind.OBJECT, ("", scalars.raw))
        untagged = _decode_by_kind(by_kind, "" if self._strict else shape.unknown)
        told_otherwise = _told_otherwise(shape.discriminator, tuple(by_tag), implied, shape.unknown, strict=self._strict)
        return _decode_tagged(shape.discriminator, by_tag, told_otherwise, untagged)

    def _by_tag(self, shape: UnionShape, constants: _Constants) -> dict[str, "_Member"]:
        by_tag: dict[str, _Member] = {}
        for member in filter(shape.is_tagged, shape.members):
            decode = self._value(member, (*constants, (shape.discriminator, member.options.tags[0])))
            by_tag.update(dict.fromkeys(member.options.tags, (member.name, decode)))
        return by_tag


def _decode_object(slots: Mapping[str, _Slot], keep: _Rest) -> Decode:
    find: Callable[[str, _Slot], _Slot] = slots.get

    def decode(value: Any, depth: int) -> dict[str, Any]:
        if type(value) is not dict or depth > MAX_DEPTH:
            raise _no_object(value)
        depth += 1
        tree: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        key = ""
        try:
            for key, item in value.items():
                name, exact, member, convert, empty, unset = find(key, _NOWHERE)
                if type(item) is exact:
                    tree[name] = {member: item} if member else item
                elif convert is None or item is None or item == empty:
                    if item != unset:
                        rest[key] = item
                else:
                    tree[name] = convert(item, depth)
        except RefusalError as refusal:
            refusal.path.append(key)
            raise
        if rest:
            tree.update(keep(rest))
        return tree

    return decode


def _no_object(value: Any) -> RefusalError:
    return invalid("it is nested too deeply") if type(value) is dict else expected("an object", value)


def _decode_exclusive(decode: Decode, groups: Iterable[Mapping[str, str]]) -> Decode:
    """Refuse an object with several keys of one oneof, of which a message would hold only the last."""

    def decode_exclusive(value: Any, depth: int) -> dict[str, Any]:
        tree: dict[str, Any] = decode(value, depth)
        for keys in groups:
            given = [key for name, key in keys.items() if name in tree]
            if len(given) > 1:
                raise invalid(f"it cannot be given together with '{given[0]}'", given[1])
        return tree

    return decode_exclusive


def _catch_all(name: str) -> _Rest:
    def keep(rest: dict[str, Any]) -> dict[str, Any]:
        return {name: scalars.raw(rest, 0)}

    return keep


def _refuse_unknown(known: frozenset[str]) -> _Rest:
    def keep(rest: dict[str, Any]) -> dict[str, Any]:
        for key in rest:
            if key not in known:
                raise RefusalError("Unknown parameter:", ".", key)
        return {}

    return keep


def _drop(rest: dict[str, Any]) -> dict[str, Any]:
    return {}


_Member = tuple[str, Decode]


def _decode_tagged(
    discriminator: str,
    members: Mapping[str, _Member],
    told_otherwise: Callable[[dict[str, Any], Any], _Member],
    untagged: Decode,
) -> Decode:
    """The union's member that the discriminator of an object tells, or `untagged` for what is no object."""

    def decode(value: Any, depth: int) -> Any:
        if type(value) is not dict:
            return untagged(value, depth)
        tag = value.get(discriminator)
        member = members.get(tag) if type(tag) is str else None
        name, convert = member or told_otherwise(value, tag)
        return {name: convert(value, depth + 1)}

    return decode


def _told_otherwise(
    discriminator: str, tags: Sequence[str], implied: Iterable[tuple[str, _Member]], unknown: str, *, strict: bool
) -> Callable[[dict[str, Any], Any], _Member]:
    """Which member an object is whose discriminator tells none of them; raises `RefusalError` if that is not allowed."""

    def find(value: dict[str, Any], tag: Any) -> _Member:
        if tag is None:
            for key, member in implied:
                if key in value:
                    return member
        if unknown and (not strict or type(tag) is str):
            return unknown, scalars.raw
        if tag is None:
            raise missing(discriminator)
        if type(tag) is str:
            raise invalid(f"expected {one_of(tags)}, but got {shown(tag)}", discriminator)
        refusal = expected("a string", tag)
        refusal.path.append(discriminator)
        raise refusal

    return find


def _decode_by_kind(members: Mapping[Kind, _Member], unknown: str) -> Decode:
    """The union's member that the kind of the value tells."""
    names = " or ".join(kind.value for kind in Kind if kind in members)
    by_type = {held: member for kind, member in members.items() for held in _TYPES[kind]}

    def decode(value: Any, depth: int) -> dict[str, Any]:
        member = by_type.get(type(value))
        if member is not None:
            name, convert = member
            return {name: convert(value, depth + 1)}
        if unknown:
            return {unknown: scalars.raw(value, depth)}
        raise expected(names, value)

    return decode


def _decode_wrapped(name: str, items: Decode) -> Decode:
    def decode(value: Any, depth: int) -> dict[str, Any]:
        return {name: items(value, depth + 1)}

    return decode


def _decode_list(one: Decode, exact: type) -> Decode:
    """The elements of the type `exact` are kept as they are."""

    def decode(value: Any, depth: int) -> list[Any]:
        if type(value) is not list:
            raise expected("an array", value)
        tree: list[Any] = []
        try:
            for item in value:
                tree.append(item if type(item) is exact else one(item, depth))  # noqa: PERF401 - how far it came is where it failed
        except RefusalError as refusal:
            refusal.path.append(len(tree))
            raise
        return tree

    return decode


def _decode_list_of_tagged(discriminator: str, members: Mapping[str, _Member], one: Decode) -> Decode:
    """A list of unions: what the discriminator tells is decoded without asking the union, `one`, which is for all else."""

    def decode(value: Any, depth: int) -> list[Any]:
        if type(value) is not list:
            raise expected("an array", value)
        tree: list[Any] = []
        try:
            for item in value:
                tag = item.get(discriminator) if type(item) is dict else None
                member = members.get(tag) if type(tag) is str else None
                if member is None:
                    tree.append(one(item, depth))
                else:
                    name, convert = member
                    tree.append({name: convert(item, depth + 1)})
        except RefusalError as refusal:
            refusal.path.append(len(tree))
            raise
        return tree

    return decode


def _decode_map(one: Decode) -> Decode:
    def decode(value: Any, depth: int) -> dict[str, Any]:
        if type(value) is not dict:
            raise expected("an object", value)
        tree = {}
        for key, item in value.items():
            try:
                tree[key] = one(item, depth)
            except RefusalError as refusal:
                refusal.path.append(key)
                raise
        return tree

    return decode
