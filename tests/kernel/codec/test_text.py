"""JSON texts that two readers could understand differently are refused."""

import pytest

from tests.kernel.codec import sample
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest

REQUEST = codec_for(sample.message("Request"))


def refusal(data: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        REQUEST.loads(data, strict=True)
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"model": }',
        b"{'model': 1}",
        b'{"model": NaN}',
        b'{"temperature": Infinity}',
        b'{"temperature": 1e400}',
        b'{"model": "\\ud800"}',
        b'{"model": "\xff"}',
        b'{"model": "a"} x',
        b'\xef\xbb\xbf{"model": "a"}',
        b"[" * 100_000,
        b"[" * 2000 + b"]" * 2000,
    ],
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    assert refusal(data).message.startswith("The body is not valid JSON: ")


def test_the_place_of_the_mistake_is_told() -> None:
    assert "line 2 column 10" in refusal(b'{"a": 1,\n"model": }').message


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b'{"model":"a","model":"b"}', "model"),
        (b'{"model": "a", "x": {"y": [1, {"z": 1, "z": 1}]}}', "z"),
        (b'{"model":"a","\\u006dodel":"a"}', "model"),
        (b'{"model": 1, "model": "\\u0022\\u0022"}', "model"),
        (b'{"model": "\\u0022\\u0022", "model": 1, "x": "\\u0022"}', "model"),
    ],
)
def test_a_key_given_twice_is_refused_by_name(data: bytes, key: str) -> None:
    error = refusal(data)

    assert f"'{key}' twice" in error.message
    assert error.param == key


def test_a_key_given_twice_by_a_neighbour_has_its_last_value() -> None:
    assert REQUEST.loads(b'{"model":"a","model":"b"}').model == "b"


@pytest.mark.parametrize("data", [b'{"model":"a"}', b' { "model" : "a" }\n', '{"model": "\\u0061"}'])
def test_a_text_is_read_however_it_is_spaced_and_escaped(data: bytes | str) -> None:
    assert REQUEST.loads(data, strict=True).model == "a"


def test_deep_nesting_is_refused() -> None:
    assert refusal(b'{"x":' + b"[" * 500 + b"]" * 500 + b"}").message.endswith("it is nested too deeply.")
