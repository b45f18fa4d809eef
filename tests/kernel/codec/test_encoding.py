"""Messages become JSON as their options say."""

from typing import Any

import orjson
import pytest

from tests.kernel.codec import sample
from trivet.content.v1.chat_completion_pb2 import ChatCompletionMessage
from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.response_event_body_pb2 import OutputTextDeltaEvent

ANSWER = sample.message("Answer")
SCALARS = sample.message("Scalars")


def written(message: Any) -> Any:
    return orjson.loads(codec_for(type(message)).dumps(message))


def test_scalars_without_presence_are_always_written_and_the_rest_when_set() -> None:
    plain = {"text": "", "flag": False, "small": 0, "large": 0, "natural": 0, "count": 0, "number": 0.0}

    assert written(SCALARS()) == plain
    assert written(SCALARS(color=2, plain_color=1)) == plain | {"color": "dark_red", "plain_color": "red"}


def test_an_enum_number_without_a_name_is_written_as_it_is() -> None:
    assert written(SCALARS(color=9))["color"] == 9


def test_keys_that_are_always_there_have_their_empty_value() -> None:
    assert written(ANSWER()) == {
        "object": "answer",
        "id": "",
        "error": None,
        "choice": "auto",
        "leaves": [],
        "metadata": {},
        "leaf": None,
        "tags": None,
        "class": "",
        "required_schema": None,
    }


def test_set_fields_replace_the_empty_values() -> None:
    answer = ANSWER(id="1", error="e", choice="none", tags=["t"], metadata={"a": "b"}, internal="hidden")
    answer.leaf.SetInParent()
    answer.leaves.add(name="l", note="")

    assert written(answer) == {
        "object": "answer",
        "id": "1",
        "error": "e",
        "choice": "none",
        "leaves": [{"name": "l", "note": ""}],
        "metadata": {"a": "b"},
        "leaf": {"name": ""},
        "tags": ["t"],
        "class": "",
        "required_schema": None,
    }


def test_keys_that_are_always_there_come_in_the_order_of_the_fields() -> None:
    keys = list(written(ANSWER(error="e", leaves=[{"name": "l"}])))

    assert keys[:5] == ["object", "id", "error", "choice", "leaves"]


def test_raw_json_is_embedded_as_it_is() -> None:
    answer = ANSWER(schema='{"a": [1,\n 2]}', schemas=["1", "null"], required_schema="true")

    assert b'"schema":{"a": [1,\n 2]}' in codec_for(ANSWER).dumps(answer)
    assert written(answer)["schemas"] == [1, None]


def test_the_catch_all_has_the_last_word() -> None:
    answer = ANSWER(id="1", extra='{"new":[1],"object":"reply","tags":[]}')

    assert {"new": [1], "object": "reply", "tags": [], "id": "1"}.items() <= written(answer).items()


def test_the_catch_all_has_the_last_word_and_place_wherever_its_field_stands() -> None:
    delta = OutputTextDeltaEvent(item_id="m", extra='{"new":1,"item_id":"n"}', deltas=["hidden"])

    assert {"item_id": "n", "new": 1}.items() <= written(delta).items()
    assert "deltas" not in written(delta)
    assert list(written(ChatCompletionMessage(extra='{"new":1}', content="c", reasoning_content="r")))[-1] == "new"


def test_the_discriminator_comes_first() -> None:
    item = codec_for(sample.message("Item"))
    message = item.decode({"content": "hi", "role": "tool", "type": "message"})

    assert item.dumps(message) == b'{"type":"message","role":"tool","content":"hi"}'


def test_a_union_without_a_member_is_null() -> None:
    assert written(sample.message("Content")()) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Item", {"type": "call_v2", "id": "1"}),
        ("Item", {"type": "new", "a": 1}),
        ("Item", {"type": "message", "role": "user", "content": ["a", "b"]}),
        ("Request", {"model": "m", "input": [], "limit": None, "stop": [], "filter": {"name": "", "filters": [{"name": ""}]}}),
        ("Request", {"model": "m", "leaves": {"a": {"name": ""}}, "tools": ["a", {"type": "leaf", "name": "b"}]}),
        ("Content", 2.5),
        ("Content", []),
        ("Parts", ["a"]),
        ("OpenHolder", {"open": None, "opens": [1, {"a": {}}]}),
    ],
)
def test_what_is_decoded_is_encoded_again(name: str, value: Any) -> None:
    codec = codec_for(sample.message(name))
    expected = {key: item for key, item in value.items() if key != "open"} if name == "OpenHolder" else value

    assert orjson.loads(codec.dumps(codec.decode(value, strict=True))) == expected


def test_a_codec_is_compiled_once() -> None:
    assert codec_for(ANSWER) is codec_for(ANSWER)
