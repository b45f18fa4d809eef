"""Requests that break a rule of the contract are refused by the field's name."""

from typing import Any, cast

import pytest

from tests.kernel.codec import sample
from trivet.kernel.call import Call
from trivet.kernel.errors import InvalidRequest
from trivet.kernel.interceptors.validation import validation
from trivet.kernel.validation import validate

REQUEST = sample.message("Request")
GOOD: dict[str, Any] = {"model": "m", "input": {"text": "hi"}}


def item(**member: Any) -> dict[str, Any]:
    return {"model": "m", "input": {"items": {"items": [member]}}}


@pytest.mark.parametrize(
    "fields",
    [
        GOOD,
        GOOD | {"input": {"text": ""}},
        GOOD | {"limit": 1},
        GOOD | {"limit": 20, "temperature": 0.0, "effort": "low", "stop": ["a"] * 4, "metadata": {"a": "", "b": ""}},
        GOOD | {"schema": '{"a":1}', "extra": "{}", "model": "x" * 20},
        item(unknown="null"),
        item(message={"user": {"content": {"flag": False}}}),
    ],
)
def test_a_request_within_the_rules_passes(fields: dict[str, Any]) -> None:
    validate(REQUEST(**fields))


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({}, "model", "Missing required parameter: 'model'."),
        ({"model": "m"}, "input", "Missing required parameter: 'input'."),
        (GOOD | {"limit": 0}, "limit", "Invalid 'limit': expected a value between 1 and 20, but got 0."),
        (GOOD | {"limit": 21}, "limit", "Invalid 'limit': expected a value between 1 and 20, but got 21."),
        (GOOD | {"temperature": 2.5}, "temperature", "expected a value between 0 and 2, but got 2.5."),
        (GOOD | {"temperature": float("nan")}, "temperature", "but got nan."),
        (GOOD | {"model": "x" * 21}, "model", "expected at most 20 characters, but got 21."),
        (GOOD | {"tools": [{"name": "a"}] * 4}, "tools", "expected at most 3 elements, but got 4."),
        (GOOD | {"stop": ["a"] * 5}, "stop", "expected between 1 and 4 elements, but got 5."),
        (GOOD | {"metadata": dict.fromkeys("abc", "")}, "metadata", "expected at most 2 elements, but got 3."),
        (GOOD | {"effort": "some"}, "effort", "expected 'low' or 'high', but got 'some'."),
        (GOOD | {"schema": "{"}, "schema", "expected the text of a JSON value."),
        (GOOD | {"schema": "[" * 500 + "]" * 500}, "schema", "expected the text of a JSON value."),
        (GOOD | {"extra": "[]"}, "extra", "expected the text of a JSON object."),
        (GOOD | {"extra": "{"}, "extra", "expected the text of a JSON value."),
        (GOOD | {"nested": {"schemas": ["1", "x"]}}, "nested.schemas[1]", "expected the text of a JSON value."),
        (GOOD | {"input": {}}, "input", "Missing required parameter: 'input'."),
        (GOOD | {"tools": [{"name": "a"}, {}]}, "tools[1]", "Missing required parameter: 'tools[1]'."),
        (item(), "input[0]", "Missing required parameter"),
        (item(call={}), "input[0].id", "Missing required parameter: 'input[0].id'."),
        (item(message={"user": {}}), "input[0].content", "Missing required parameter: 'input[0].content'."),
        (item(unknown=""), "input[0]", "expected the text of a JSON value."),
    ],
)
def test_a_broken_rule_is_told_with_its_place(fields: dict[str, Any], param: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(REQUEST(**fields))

    assert caught.value.param == param
    assert problem in caught.value.message


def test_what_is_no_json_is_refused_each_time() -> None:
    for text in ("{", "{}", "{"):
        if text == "{}":
            validate(REQUEST(**GOOD, schema=text))
        else:
            with pytest.raises(InvalidRequest):
                validate(REQUEST(**GOOD, schema=text))


def test_a_message_without_rules_is_not_looked_into() -> None:
    validate(sample.message("Filter")(filters=[{"filters": [{}]}]))


class FakeCall:
    """What the interceptor reads of a call."""

    def __init__(self, request: Any) -> None:
        self.request = request


def test_the_interceptor_lets_only_valid_requests_through() -> None:
    validation(cast("Call", FakeCall(REQUEST(**GOOD))))
    with pytest.raises(InvalidRequest):
        validation(cast("Call", FakeCall(REQUEST())))
