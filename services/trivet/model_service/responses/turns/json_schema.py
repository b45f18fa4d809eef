"""JSON schemas of callers, applied to what models write, without the ways in which a schema can be made to do harm.

Nothing is fetched: a `$ref` leads to a place in the schema itself. Patterns are matched in linear time. What would take too
long - references that multiply each other - is not gone through to its end.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import orjson
from jsonschema import exceptions, validators
from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema
from referencing import Registry
from referencing.exceptions import Unresolvable

from trivet.kernel.errors import InvalidRequest

PARAM: Final = "text.format.schema"

_MOST_REFERENCES: Final = 10_000
"""How many references are followed for one value; what is not found wrong by then is taken to be right."""

_MOST_CHARACTERS: Final = 200_000
"""The longest schema: to understand this much takes about a second, and what was understood is remembered."""

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")

_MESSAGE_CHARACTERS: Final = 300

Keyword = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


class _TooManyReferences(Exception):  # noqa: N818 - says what happened
    pass


class Schema:
    """A schema, given as JSON is parsed. Raises InvalidRequest where it is none."""

    def __init__(self, schema: Any) -> None:
        if not isinstance(schema, dict):
            raise InvalidRequest(f"Invalid '{PARAM}': expected an object.", PARAM)
        dialect = validators.validator_for(schema, default=validators.Draft202012Validator)
        try:
            dialect.check_schema(schema, format_checker=None)
        except exceptions.SchemaError as error:
            told = f"Invalid '{PARAM}': at {error.json_path}, {error.message:.{_MESSAGE_CHARACTERS}}"
            raise InvalidRequest(told, PARAM) from error
        except RecursionError as error:
            raise InvalidRequest(f"Invalid '{PARAM}': it is too deep.", PARAM) from error
        self._left = 0
        guarded = {name: self._counted(dialect.VALIDATORS[name]) for name in _REFERENCES if name in dialect.VALIDATORS}
        safe = validators.extend(dialect, {**guarded, "pattern": _pattern})
        self._validator = safe(schema, registry=Registry())

    def wrong_with(self, value: Any) -> str:
        """The first thing that is wrong with a value, as a sentence; "" if nothing is."""
        self._left = _MOST_REFERENCES
        try:
            error = next(self._validator.iter_errors(value), None)
        except (_TooManyReferences, RecursionError):
            return ""
        except Unresolvable as broken:
            return f"its schema refers to what it does not have, '{broken.ref:.80}'."
        return f"at {error.json_path}, {error.message:.{_MESSAGE_CHARACTERS}}." if error else ""

    def _counted(self, keyword: Keyword) -> Keyword:
        def counted(validator: Any, given: Any, instance: Any, schema: Any) -> Iterator[Any]:
            self._left -= 1
            if self._left < 0:
                raise _TooManyReferences
            yield from keyword(validator, given, instance, schema) or ()

        return counted


@lru_cache(64)
def schema_of(text: str) -> Schema | None:
    """The schema that a JSON text is; None for one with names that are patterns, which nobody checks in linear time here.

    Raises:
        InvalidRequest: it is none, or too long.
    """
    if len(text) > _MOST_CHARACTERS:
        told = f"Invalid '{PARAM}': with 'strict' a schema has at most {_MOST_CHARACTERS} characters, but this has {len(text)}."
        raise InvalidRequest(told, PARAM)
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"Invalid '{PARAM}': it is not JSON.", PARAM) from error
    # Made anew, so that no way to spell the word is overlooked.
    return None if b'"patternProperties"' in orjson.dumps(schema) else Schema(schema)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    matches = _matcher(pattern)
    if matches is not None and validator.is_type(instance, "string") and not matches(instance):
        yield exceptions.ValidationError(f"{instance!r} does not match {pattern!r}")


@lru_cache(256)
def _matcher(pattern: str) -> Callable[[str], bool] | None:
    """Whether a text matches; None for a pattern that looks around or back, which takes more than linear time."""
    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None

    def matches(text: str) -> bool:
        try:
            validator.validate_python(text)
        except ValidationError:
            return False
        return True

    return matches
