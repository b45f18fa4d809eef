"""The rules that the options set for requests, compiled once for each message type.

Over REST the codec has already refused what is not of the contract's types. What is left is what types cannot say:
required fields, ranges, closed sets of strings; and, over gRPC, strings that must hold JSON and unions left empty.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any, Final

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from trivet.kernel.codec.refusal import RefusalError, invalid, missing, one_of, shown
from trivet.kernel.codec.shape import Field, ListShape, ObjectShape, UnionShape, Value, fields_of, shape_of
from trivet.rest.v1 import annotations_pb2

_Check = Callable[[Any], None]
"""Raises `RefusalError` for a value that breaks a rule."""


_Required = tuple[str, bool, Callable[[], RefusalError]]
"""What must be given: its name, whether protobuf tells that it is there (else it is when it is not empty), and the refusal without it."""

_Rule = tuple[str, str, frozenset[str], _Check]
"""The rules for what a field holds: `key, oneof, free, check`. They hold nothing against a union whose `oneof` is one of those `free`."""


def validate(message: Message) -> None:
    """Check a request against the rules of its type.

    Raises:
        InvalidRequest: a rule is broken; `param` is the path of the field.
    """
    descriptor: Any = message.DESCRIPTOR
    check = _COMPILED.get(descriptor) or _compiled(descriptor)
    try:
        check(message)
    except RefusalError as refusal:
        raise refusal.as_error() from None


_COMPILED: Final[dict[Descriptor, _Check]] = {}
"""The rules of messages; messages without any rule below them are never looked into."""


def _compiled(descriptor: Descriptor) -> _Check:
    if descriptor not in _COMPILED:
        # A message that contains itself meets this while it is being compiled, and looks its check up when it runs.
        _COMPILED[descriptor] = partial(_late, descriptor)
        _COMPILED[descriptor] = _new(descriptor)
    return _COMPILED[descriptor]


def _late(descriptor: Descriptor, message: Any) -> None:
    _COMPILED[descriptor](message)


def _new(descriptor: Descriptor) -> _Check:
    match shape_of(descriptor):
        case UnionShape() as shape:
            return _check_union(shape.oneof, _members(shape))
        case ListShape() as shape:
            return _check_list(shape.items.name, _all(shape.items))
        case ObjectShape() as shape:
            return _object(shape)


def _object(shape: ObjectShape) -> _Check:
    fields = fields_of(shape.descriptor)
    required = [_given(field) for field in fields if field.options.required]
    required += [_one_given(name, keys) for name, keys in shape.required_oneofs.items()]
    rules = [(field, _rule(field, check)) for field in fields if (check := _all(field))]
    if len(rules) > _MANY:
        return _check_those_set(required, {field.descriptor: rule for field, rule in rules})
    # Whether a field is there that must be given has been asked before its own rules are looked at.
    return _check_few(
        required, [(field.name, field.descriptor.has_presence and not field.options.required, rule) for field, rule in rules]
    )


def _rule(field: Field, check: _Check) -> _Rule:
    shape = shape_of(field.message) if field.value is Value.MESSAGE and not field.descriptor.is_repeated else None
    if not isinstance(shape, UnionShape):
        return field.key, "", frozenset(), check
    return field.key, shape.oneof, frozenset(name for name, inner in _members(shape).items() if inner is None), check


def _members(shape: UnionShape) -> dict[str, _Check | None]:
    return {field.name: _one(field) for field in fields_of(shape.descriptor)}


def _all(field: Field) -> _Check | None:
    """The rules for all that a field holds; None if there are none."""
    one = _one(field)
    if not field.descriptor.is_repeated:
        return one
    checks = [_check_size(field.options, len, "elements")] if _is_ranged(field.options) else []
    if one:
        shape = shape_of(field.message) if field.value is Value.MESSAGE and not field.is_map else None
        if isinstance(shape, UnionShape):
            checks.append(_check_unions(shape.oneof, _members(shape)))
        else:
            checks.append(_check_each_pair(one) if field.is_map else _check_each(one))
    return _each_of(checks)


def _one(field: Field) -> _Check | None:
    """The rules for one value of a field; None if there are none."""
    options = field.options
    checks: list[_Check] = []
    if field.value is Value.MESSAGE:
        return _compiled(field.message) if _has_rules(field.message) else None
    if options.catch_all or field.value is Value.RAW:
        checks.append(_check_object_text if options.catch_all else _check_json_text)
    if options.one_of:
        checks.append(_check_one_of(tuple(options.one_of)))
    if _is_ranged(options) and not field.descriptor.is_repeated:
        is_text = field.value is Value.STRING
        checks.append(_check_size(options, len, "characters") if is_text else _check_number(options))
    return _each_of(checks)


_MANY: Final = 4
"""To have protobuf list what is set costs as much as to ask for so many fields, and makes strings of what nobody looks at."""

_SHORT: Final = 8 * 1024
"""The most characters of a JSON text that is remembered once it was found to be one."""

_DEEPEST_WRITTEN: Final = 200
"""A nesting that orjson writes for certain."""


@cache
def _has_rules(descriptor: Descriptor) -> bool:
    """Whether a message, or any that it can contain, has a rule."""
    seen: set[Descriptor] = set()
    waiting = [descriptor]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        shape = shape_of(current)
        if isinstance(shape, UnionShape) or (isinstance(shape, ObjectShape) and shape.required_oneofs):
            return True
        if any(map(_has_rule, fields_of(current))):
            return True
        waiting += [field.message for field in fields_of(current) if field.value is Value.MESSAGE]
    return False


def _has_rule(field: Field) -> bool:
    options = field.options
    told = options.required or options.one_of or options.catch_all or _is_ranged(options)
    return bool(told) or field.value is Value.RAW


def _is_ranged(options: annotations_pb2.JsonField) -> bool:
    return options.HasField("minimum") or options.HasField("maximum")


def _each_of(checks: list[_Check]) -> _Check | None:
    if len(checks) < 2:
        return checks[0] if checks else None

    def check(value: Any) -> None:
        for each in checks:
            each(value)

    return check


def _given(field: Field) -> _Required:
    is_told = field.descriptor.has_presence and field.value not in (Value.STRING, Value.RAW)
    return field.name, is_told, partial(missing, field.key)


def _one_given(oneof: str, keys: list[str]) -> _Required:
    told = " and ".join(f"`{key}`" for key in keys)
    return oneof, True, partial(invalid, f"exactly one of {told} must be given")


def _check_few(required: Sequence[_Required], rules: Sequence[tuple[str, bool, _Rule]]) -> _Check:
    """The rules for a message with rules for few of its fields, each of which it is asked for."""

    def check(message: Any) -> None:
        for name, is_told, refusal in required:
            if not (message.HasField(name) if is_told else getattr(message, name)):
                raise refusal()
        for name, is_told, (key, oneof, free, judge) in rules:
            if is_told and not message.HasField(name):
                continue
            value = getattr(message, name)
            if not (is_told or value) or (oneof and value.WhichOneof(oneof) in free):
                continue
            try:
                judge(value)
            except RefusalError as refused:
                refused.path.append(key)
                raise

    return check


def _check_those_set(required: Sequence[_Required], rules: Mapping[FieldDescriptor, _Rule]) -> _Check:
    """The rules for a message with rules for many of its fields, few of which are set."""

    def check(message: Any) -> None:
        for name, is_told, refusal in required:
            if not (message.HasField(name) if is_told else getattr(message, name)):
                raise refusal()
        key = ""
        try:
            for field, value in message.ListFields():
                rule = rules.get(field)
                if rule is not None:
                    key, oneof, free, judge = rule
                    if not oneof or value.WhichOneof(oneof) not in free:
                        judge(value)
        except RefusalError as refused:
            refused.path.append(key)
            raise

    return check


def _check_union(oneof: str, members: Mapping[str, _Check | None]) -> _Check:
    def check(message: Any) -> None:
        member = message.WhichOneof(oneof)
        if member is None:
            raise missing()
        judge = members[member]
        if judge is not None:
            judge(getattr(message, member))

    return check


def _check_list(name: str, items: _Check | None) -> _Check:
    """The rules for a message whose JSON is an array: its field has no step in the path."""

    def check(message: Any) -> None:
        if items:
            items(getattr(message, name))

    return check


def _check_each(one: _Check) -> _Check:
    def check(values: Any) -> None:
        index = 0
        try:
            # A copy of the list: to iterate over what protobuf has instead is slower than to make it.
            for value in values[:]:
                one(value)
                index += 1
        except RefusalError as refusal:
            refusal.path.append(index)
            raise

    return check


def _check_unions(oneof: str, members: Mapping[str, _Check | None]) -> _Check:
    """As `_check_union`, for each of many, without a call for each."""

    def check(values: Any) -> None:
        index = 0
        try:
            for value in values[:]:
                member = value.WhichOneof(oneof)
                if member is None:
                    raise missing()
                judge = members[member]
                if judge is not None:
                    judge(getattr(value, member))
                index += 1
        except RefusalError as refusal:
            refusal.path.append(index)
            raise

    return check


def _check_each_pair(one: _Check) -> _Check:
    def check(values: Any) -> None:
        for key, value in values.items():
            try:
                one(value)
            except RefusalError as refusal:
                refusal.path.append(key)
                raise

    return check


def _check_number(options: annotations_pb2.JsonField) -> _Check:
    least, greatest = _range(options)

    def check(value: Any) -> None:
        # Said this way round, NaN is refused too.
        if not least <= value <= greatest:
            raise invalid(f"expected a value {_bounds(options)}, but got {value:.15g}")

    return check


def _check_size(options: annotations_pb2.JsonField, size: Callable[[Any], int], things: str) -> _Check:
    least, greatest = _range(options)

    def check(value: Any) -> None:
        if not least <= size(value) <= greatest:
            raise invalid(f"expected {_bounds(options)} {things}, but got {size(value)}")

    return check


def _check_one_of(values: tuple[str, ...]) -> _Check:
    def check(value: str) -> None:
        if value not in values:
            raise invalid(f"expected {one_of(values)}, but got {shown(value)}")

    return check


def _check_json_text(value: str) -> None:
    if len(value) <= _SHORT:
        _known_json(value)
    else:
        _json(value)


@lru_cache(maxsize=512)
def _known_json(value: str) -> None:
    """As `_json`, for what comes again: the schemas of tools come with each request, and in a run with each of its turns."""
    _json(value)


def _check_object_text(value: str) -> None:
    if value and not isinstance(_json(value), dict):
        raise invalid("expected the text of a JSON object")


def _json(value: str) -> Any:
    try:
        parsed = orjson.loads(value)
        # What orjson reads can be nested deeper than what it writes.
        if value.count("[") + value.count("{") > _DEEPEST_WRITTEN:
            orjson.dumps(parsed)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        raise invalid("expected the text of a JSON value") from None
    return parsed


def _range(options: annotations_pb2.JsonField) -> tuple[float, float]:
    least = options.minimum if options.HasField("minimum") else float("-inf")
    return least, options.maximum if options.HasField("maximum") else float("inf")


def _bounds(options: annotations_pb2.JsonField) -> str:
    if options.HasField("minimum") and options.HasField("maximum"):
        return f"between {options.minimum:.15g} and {options.maximum:.15g}"
    at_least = options.HasField("minimum")
    return f"at least {options.minimum:.15g}" if at_least else f"at most {options.maximum:.15g}"
