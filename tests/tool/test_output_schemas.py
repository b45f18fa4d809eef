"""The quick look at structured results agrees with the closer one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema.validators import validator_for

from trivet.tool_service.adapters.output_schemas import surely

SIMPLE = {
    "title": "Found",
    "type": "object",
    "properties": {
        "n": {"type": "integer", "description": "how many"},
        "ratio": {"type": "number"},
        "names": {"type": "array", "items": {"type": "string"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "of": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "additionalProperties": False},
    },
    "required": ["n"],
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SIMPLE["properties"], "ok", "x"]), inner, max_size=4)
    ),  # type: ignore[misc]
    max_leaves=8,
)


@given(value=VALUES)
def test_what_is_surely_valid_is_valid(value: Any) -> None:
    assert not surely(SIMPLE)(value) or validator_for(SIMPLE)(SIMPLE).is_valid(value)


@pytest.mark.parametrize(
    "value",
    [{"n": 1}, {"n": 1, "ratio": 2, "names": [], "note": None, "of": {}}, {"n": 0, "names": ["a"], "of": {"ok": True}, "x": 1}],
)
def test_what_is_as_simple_as_the_schema_needs_no_closer_look(value: dict[str, object]) -> None:
    assert surely(SIMPLE)(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 3},
        {"$ref": "#/$defs/A"},
        {"type": ["string", "null"]},
        {"type": "text"},
        {"required": "n"},
        {"type": "object", "properties": {"n": {"const": 1}}},
        {"additionalProperties": False},
        {"anyOf": []},
        {"enum": ["x"]},
        "no schema",
        False,
    ],
)
def test_what_is_not_understood_is_never_sure(schema: Any) -> None:
    check = surely(schema)

    assert not any(check(value) for value in ("x", None, {"n": 1}, 1))
