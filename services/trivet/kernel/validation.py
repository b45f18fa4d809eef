"""The rules that the options set for requests, compiled once for each message type.

Over REST the codec has already refused what is not of the contract's types. What is left is what types cannot say:
required fields, ranges, closed sets of strings; and, over gRPC, strings that must hold JSON and unions left empty.
"""

from collections.abc import Callable
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


def validate(message: Message) -> None:
    """Check a request against the rules of its type.

    Raises:
        InvalidRequest: a rule is broken; `param` is the path of the field.
    """
    try:
        _RULES.message(message.DESCRIPTOR)(message)  # type: ignore[arg-type]  # the stubs name two classes for one
    except RefusalError as refusal:
        raise refusal.as_error() from None


class _Rules:
    """Compiles descriptors; messages without any rule below them are never looked into."""

    def __init__(self) -> None:
        self._compiled: dict[Descriptor, _Check] = {}

    def message(self, descriptor: Descriptor) -> _Check:
        check = self._compiled.get(descriptor)
        if check is None:
            # A message that contains itself meets this while it is being compiled, and looks its check up when it runs.
            self._compiled[descriptor] = partial(self._late, descriptor)
            check = self._compiled[descriptor] = self._new(descriptor)
        return check

    def _late(self, descriptor: Descriptor, message: Any) -> None:
        self._compiled[descriptor](message)

    def _new(self, descriptor: Descriptor) -> _Check:
        fields = fields_of(descriptor)
        match shape_of(descriptor):
            case UnionShape():
                return _check_union({field.descriptor: self._one(field) for field in fields})
            case ListShape() as shape:
                return _check_list(shape.items.name, self._all(shape.items))
            case ObjectShape() as shape:
                checks = [_check_given(field) for field in fields if field.options.required]
                checks += [_check_oneof(name, keys) for name, keys in shape.required_oneofs.items()]
                checks += _check_fields([(field, check) for field in fields if (check := self._all(field))])
                return _each_of(checks) or _fine

    def _all(self, field: Field) -> _Check | None:
        """The rules for all that a field holds; None if there are none."""
        one = self._one(field)
        if not field.descriptor.is_repeated:
            return one
        checks = [_check_size(field.options, len, "elements")] if _is_ranged(field.options) else []
        if one:
            checks.append(_check_each_pair(one) if field.is_map else _check_each(one))
        return _each_of(checks)

    def _one(self, field: Field) -> _Check | None:
        """The rules for one value of a field; None if there are none."""
        options = field.options
        checks: list[_Check] = []
        if field.value is Value.MESSAGE:
            return self.message(field.message) if _has_rules(field.message) else None
        if options.catch_all or field.value is Value.RAW:
            checks.append(_check_object_text if options.catch_all else _check_json_text)
        if options.one_of:
            checks.append(_check_one_of(tuple(options.one_of)))
        if _is_ranged(options) and not field.descriptor.is_repeated:
            is_text = field.value is Value.STRING
            checks.append(_check_size(options, len, "characters") if is_text else _check_number(options))
        return _each_of(checks)


_RULES: Final = _Rules()

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


def _fine(value: Any) -> None:
    """The check that has nothing to check."""


def _check_fields(rules: list[tuple[Field, _Check]]) -> list[_Check]:
    """The rules for the fields of a message that are set."""
    if len(rules) > _MANY:
        return [_check_those_set({field.descriptor: (field.key, check) for field, check in rules})]
    return [(_check_present if field.descriptor.has_presence else _check_filled)(field, check) for field, check in rules]


def _check_those_set(checks: dict[FieldDescriptor, tuple[str, _Check]]) -> _Check:
    def check(message: Any) -> None:
        key = ""
        try:
            for field, value in message.ListFields():
                entry = checks.get(field)
                if entry is not None:
                    key, judge = entry
                    judge(value)
        except RefusalError as refusal:
            refusal.path.append(key)
            raise

    return check


def _check_present(field: Field, check: _Check) -> _Check:
    name, key = field.name, field.key

    def check_field(message: Any) -> None:
        if message.HasField(name):
            try:
                check(getattr(message, name))
            except RefusalError as refusal:
                refusal.path.append(key)
                raise

    return check_field


def _check_filled(field: Field, check: _Check) -> _Check:
    name, key = field.name, field.key

    def check_field(message: Any) -> None:
        value = getattr(message, name)
        if value:
            try:
                check(value)
            except RefusalError as refusal:
                refusal.path.append(key)
                raise

    return check_field


def _check_given(field: Field) -> _Check:
    name, key = field.name, field.key
    if field.descriptor.has_presence and field.value not in (Value.STRING, Value.RAW):

        def check_present(message: Any) -> None:
            if not message.HasField(name):
                raise missing(key)

        return check_present

    def check_filled(message: Any) -> None:
        if not getattr(message, name):
            raise missing(key)

    return check_filled


def _check_oneof(oneof: str, keys: list[str]) -> _Check:
    told = " and ".join(f"`{key}`" for key in keys)

    def check(message: Any) -> None:
        if message.WhichOneof(oneof) is None:
            raise invalid(f"exactly one of {told} must be given")

    return check


def _check_union(members: dict[FieldDescriptor, _Check | None]) -> _Check:
    def check(message: Any) -> None:
        for field, value in message.ListFields():
            judge = members[field]
            if judge is not None:
                judge(value)
            return
        raise missing()

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
