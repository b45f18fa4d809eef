"""JSON values become messages, or refusals that name the place."""

import sys
from typing import Any

import pytest

from tests.kernel.codec import sample
from trivet.kernel.codec.decoding import MAX_DEPTH
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest

REQUEST = codec_for(sample.message("Request"))
SCALARS = codec_for(sample.message("Scalars"))


def decode(name: str, value: Any, *, strict: bool = False) -> Any:
    return codec_for(sample.message(name)).decode(value, strict=strict)


def refusal(name: str, value: Any, *, strict: bool = True) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(name, value, strict=strict)
    return caught.value


def test_scalars_of_every_type_are_decoded() -> None:
    message = SCALARS.decode(
        {
            "text": "é",
            "flag": True,
            "small": -1,
            "large": 2**62,
            "natural": 7,
            "count": 2**64 - 1,
            "number": 0.5,
            "color": "dark_red",
            "colors": ["red", "dark_red"],
            "texts": ["a", ""],
            "doubles": [1, 2.5],
            "numbers": {"a": 1},
            "leaves": {"x": {"name": "n", "note": "o"}},
        }
    )

    assert (message.text, message.flag, message.small, message.large) == ("é", True, -1, 2**62)
    assert (message.natural, message.count, message.number, message.color) == (7, 2**64 - 1, 0.5, 2)
    assert (list(message.colors), list(message.texts), list(message.doubles)) == ([1, 2], ["a", ""], [1.0, 2.5])
    assert dict(message.numbers) == {"a": 1.0}
    assert (message.leaves["x"].name, message.leaves["x"].note) == ("n", "o")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"text": 1}, "Invalid 'text': expected a string, but got a number."),
        ({"flag": 0}, "Invalid 'flag': expected a boolean, but got a number."),
        ({"flag": "true"}, "Invalid 'flag': expected a boolean, but got a string."),
        ({"small": True}, "Invalid 'small': expected an integer, but got a boolean."),
        ({"small": "5"}, "Invalid 'small': expected an integer, but got a string."),
        ({"small": 1.5}, "Invalid 'small': expected an integer, but got 1.5."),
        ({"small": float("nan")}, "Invalid 'small': expected an integer, but got nan."),
        ({"small": 2**31}, "Invalid 'small': expected an integer between -2147483648 and 2147483647."),
        ({"large": 1e19}, f"Invalid 'large': expected an integer between {-(2**63)} and {2**63 - 1}."),
        ({"natural": -1}, "Invalid 'natural': expected an integer between 0 and 4294967295."),
        ({"count": 2**64}, f"Invalid 'count': expected an integer between 0 and {2**64 - 1}."),
        ({"number": False}, "Invalid 'number': expected a number, but got a boolean."),
        ({"number": float("inf")}, "Invalid 'number': expected a finite number."),
        ({"number": 10**400}, "Invalid 'number': expected a finite number."),
        ({"color": "blue"}, "Invalid 'color': expected 'red' or 'dark_red', but got 'blue'."),
        ({"color": "unspecified"}, "Invalid 'color': expected 'red' or 'dark_red', but got 'unspecified'."),
        ({"color": 1}, "Invalid 'color': expected a string, but got a number."),
        ({"texts": "a"}, "Invalid 'texts': expected an array, but got a string."),
        ({"texts": ["a", None]}, "Invalid 'texts[1]': expected a string, but got null."),
        ({"numbers": [1]}, "Invalid 'numbers': expected an object, but got an array."),
        ({"numbers": {"a": "b"}}, "Invalid 'numbers.a': expected a number, but got a string."),
        ({"leaves": {"a": {"name": []}}}, "Invalid 'leaves.a.name': expected a string, but got an array."),
        ({"other": 1}, "Unknown parameter: 'other'."),
        ({"leaves": {"a": {"b": 1}}}, "Unknown parameter: 'leaves.a.b'."),
        (5, "Invalid body: expected an object, but got a number."),
        ({"text": "\ud800"}, "Invalid 'text': expected valid Unicode."),
        ({"texts": ["a", "\udfff"]}, "Invalid 'texts[1]': expected valid Unicode."),
        ({"leaves": {"\ud800": {}}}, "Invalid 'leaves': expected valid Unicode."),
    ],
)
def test_what_a_field_cannot_hold_is_refused_with_its_place(value: Any, problem: str) -> None:
    assert refusal("Scalars", value).message == problem


def test_the_param_of_a_refusal_is_the_path_alone() -> None:
    value = {"input": [{"type": "message", "role": "user", "content": ["a", 1]}]}

    error = refusal("Request", value)

    assert error.param == "input[0].content[1]"
    assert error.message == "Invalid 'input[0].content[1]': expected a string, but got a number."


@pytest.mark.parametrize("strict", [True, False])
def test_an_integer_out_of_range_is_told_with_its_place(strict: bool) -> None:
    value = {"input": [{"type": "call", "id": "a", "index": 1}, {"type": "call", "id": "b", "index": 2**63}]}

    assert refusal("Request", value, strict=strict).param == "input[1].index"


def test_an_integral_float_is_an_integer() -> None:
    assert SCALARS.decode({"small": 1e9}).small == 1_000_000_000


def test_a_key_of_any_length_makes_a_short_message() -> None:
    assert len(refusal("Scalars", {"x" * 10_000: 1}).message) < 200
    assert len(refusal("Tool", {"type": "x" * 10_000}).message) < 200


def test_a_union_by_kind_takes_the_member_of_the_kind() -> None:
    members = [decode("Content", value).WhichOneof("content") for value in ("a", 1, 2.5, False, ["x"], {"name": "n"})]

    assert members == ["text", "number", "number", "flag", "parts", "leaf"]


def test_a_union_by_kind_names_the_kinds_it_takes() -> None:
    assert refusal("Input", None).message == "Invalid body: expected a string or an array, but got null."


def test_a_union_by_tag_takes_the_member_of_the_tag() -> None:
    tool = decode("Tool", {"type": "twig", "name": "x"}, strict=True)

    assert (tool.WhichOneof("tool"), tool.twig.name) == ("twig", "x")


def test_a_union_by_tag_can_have_members_by_kind() -> None:
    assert decode("Tool", "plain").name == "plain"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"type": "bush"}, "Invalid 'type': expected 'leaf' or 'twig', but got 'bush'."),
        ({"type": 5}, "Invalid 'type': expected a string, but got a number."),
        ({"type": ["leaf"]}, "Invalid 'type': expected a string, but got an array."),
        ({"name": "x"}, "Missing required parameter: 'type'."),
        ({"type": None}, "Missing required parameter: 'type'."),
        (1, "Invalid body: expected a string or an object, but got a number."),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_closed_union_refuses_what_no_member_takes(value: Any, problem: str, strict: bool) -> None:
    assert refusal("Tool", value, strict=strict).message == problem


def test_an_unknown_tag_is_kept_whole_by_an_open_union() -> None:
    value = {"type": "new", "deep": {"a": [1, None]}}

    item = decode("Item", value, strict=True)

    assert item.unknown == '{"type":"new","deep":{"a":[1,null]}}'


@pytest.mark.parametrize("value", [{}, {"type": 5}, 7, None, []])
def test_an_open_union_takes_no_nonsense_from_callers_and_anything_from_neighbours(value: Any) -> None:
    refusal("Item", value, strict=True)

    assert decode("Item", value).WhichOneof("item") == "unknown"


def test_a_member_is_implied_by_a_key_of_its_own() -> None:
    item = decode("Item", {"role": "user", "content": "hi"}, strict=True)

    assert item.message.user.content.text == "hi"


def test_an_open_union_by_kind_takes_any_value() -> None:
    holder = decode("OpenHolder", {"opens": ["a", 1, None, [2], {"b": 3}]})

    assert [open_.text or open_.other for open_ in holder.opens] == ["a", "1", "null", "[2]", '{"b":3}']


def test_the_first_of_several_tags_leaves_no_trace_and_another_is_kept() -> None:
    first, other = decode("Item", {"type": "call", "id": "1"}), decode("Item", {"type": "call_v2", "id": "1"})

    assert (first.call.extra, other.call.extra) == ("", '{"type":"call_v2"}')


def test_what_no_field_can_hold_goes_to_the_catch_all() -> None:
    request = REQUEST.decode(
        {"model": "m", "new": {"a": 1}, "limit": None, "tools": [], "metadata": {}, "filter": {}}, strict=True
    )

    assert request.extra == '{"new":{"a":1},"limit":null,"tools":[],"metadata":{}}'
    assert request.HasField("filter")


def test_what_the_encoder_writes_for_an_unset_field_is_not_kept() -> None:
    answer = decode("Answer", {"error": None, "leaves": [], "metadata": {}, "leaf": None, "tags": None})

    assert answer.extra == ""
    assert not answer.HasField("error")


def test_another_absence_than_the_encoder_writes_is_kept() -> None:
    answer = decode("Answer", {"choice": None, "leaves": None, "metadata": None, "tags": []})

    assert answer.extra == '{"choice":null,"leaves":null,"metadata":null,"tags":[]}'


def test_a_constant_is_not_kept_unless_it_differs() -> None:
    assert decode("Answer", {"object": "answer"}).extra == ""
    assert decode("Answer", {"object": "reply"}).extra == '{"object":"reply"}'


def test_a_hidden_field_is_not_part_of_the_json() -> None:
    answer = decode("Answer", {"internal": "x"}, strict=True)

    assert (answer.internal, answer.extra) == ("", '{"internal":"x"}')


def test_unknown_keys_are_dropped_without_a_catch_all_unless_strict() -> None:
    assert decode("Leaf", {"name": "a", "more": 1}) == sample.message("Leaf")(name="a")
    assert refusal("Leaf", {"name": "a", "more": 1}).param == "more"


def test_null_is_an_unset_field_where_nothing_catches_it() -> None:
    leaf = decode("Leaf", {"name": None, "note": None}, strict=True)

    assert not leaf.HasField("note")


def test_raw_values_are_kept_as_json_text() -> None:
    answer = decode("Answer", {"schema": {"type": "object"}, "schemas": [1, "a", None], "class": "C"})

    assert answer.schema == '{"type":"object"}'
    assert list(answer.schemas) == ["1", '"a"', "null"]
    assert answer.class_name == "C"


@pytest.mark.parametrize("value", [object(), "\ud800", 2**70])
def test_a_raw_value_that_is_no_json_is_refused(value: Any) -> None:
    assert refusal("Answer", {"schema": value}).message == "Invalid 'schema': expected a JSON value."


def test_only_one_key_of_a_oneof_can_be_given() -> None:
    assert decode("Reference", {"address": "u", "name": None, "note": "n"}, strict=True).url == "u"

    error = refusal("Reference", {"address": "u", "name": "n"}, strict=False)

    assert error.message == "Invalid 'address': it cannot be given together with 'name'."


def nested(levels: int, key: str, innermost: Any) -> Any:
    value = innermost
    for _ in range(levels):
        value = {key: value}
    return value


def test_messages_nested_too_deeply_are_refused() -> None:
    assert decode("Filter", nested(MAX_DEPTH, "inner", {}), strict=True)
    error = refusal("Filter", nested(MAX_DEPTH + 1, "inner", {}))

    assert error.message.endswith(": it is nested too deeply.")
    assert error.param.count("inner") == MAX_DEPTH + 1


def test_raw_values_nested_too_deeply_are_refused() -> None:
    deep = nested(sys.getrecursionlimit() - 100, "a", 1)

    assert refusal("Answer", {"schema": deep}).message == "Invalid 'schema': it is nested too deeply."
    assert refusal("Answer", {"unheard": deep}).message == "Invalid body: it is nested too deeply."
