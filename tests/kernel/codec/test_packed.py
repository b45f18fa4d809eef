"""Vectors and bytes in JSON: arrays of numbers, and base64."""

import pytest

from tests.kernel.codec import sample
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.packed import floats, numbers
from trivet.kernel.errors import InvalidRequest

SCALARS = sample.message("Scalars")
CODEC = codec_for(SCALARS)


def test_floats_are_packed_little_endian() -> None:
    assert floats([1, -2.5]) == b"\x00\x00\x80\x3f\x00\x00\x20\xc0"
    assert numbers(floats([1, -2.5])) == [1.0, -2.5]


def test_a_vector_is_an_array_of_numbers_and_bytes_are_base64() -> None:
    message = CODEC.decode({"vector": [1, 0.5], "data": "AP8="}, strict=True)

    assert (message.vector, message.data) == (floats([1, 0.5]), b"\x00\xff")
    written = CODEC.encode(message)
    assert (written["vector"], written["data"]) == ([1.0, 0.5], "AP8=")
    assert CODEC.encode(SCALARS(vector=b""))["vector"] == []


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"vector": "AP8="}, "vector"),
        ({"vector": [1, "2"]}, "vector[1]"),
        ({"vector": [1, None]}, "vector[1]"),
        ({"vector": [1e39]}, "vector"),
        ({"vector": [10**400]}, "vector[0]"),
        ({"data": "AP8"}, "data"),
        ({"data": "§"}, "data"),
        ({"data": [0]}, "data"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_none_is_refused_by_its_place(value: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        CODEC.decode(value, strict=True)

    assert refused.value.param == param
