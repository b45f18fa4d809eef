"""Queries become the JSON values that the fields of a request want."""

import pytest

from trivet.kernel.codec.query import query_codec, query_fields
from trivet.kernel.errors import InvalidRequest
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model.v1.response_stored_pb2 import GetResponseRequest

CREATE = query_codec(CreateResponseRequest.DESCRIPTOR)


def test_numbers_booleans_and_texts_are_told_by_the_field() -> None:
    pairs = [("temperature", "0.5"), ("max_output_tokens", "1e3"), ("store", "FALSE"), ("model", "1"), ("user", "")]

    assert CREATE.decode(pairs) == {"temperature": 0.5, "max_output_tokens": 1000.0, "store": False, "model": "1", "user": ""}


def test_only_scalars_and_lists_and_maps_of_them_can_be_given() -> None:
    keys = {field.key for field in query_fields(CreateResponseRequest.DESCRIPTOR)}

    assert {"model", "include", "top_p"} <= keys
    assert not keys & {"input", "tools", "extra", "text"}
    assert CREATE.decode([("input", "x"), ("tools[0]", "x"), ("model[0]", "x"), ("[0]", "x"), ("extra", "{}")]) == {}


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        (("temperature", "warm"), "Invalid 'temperature': expected a number, but got 'warm'."),
        (("top_logprobs", "true"), "Invalid 'top_logprobs': expected an integer, but got 'true'."),
        (("store", "no"), "Invalid 'store': expected 'true' or 'false', but got 'no'."),
    ],
)
def test_what_a_field_cannot_be_is_refused_by_its_name(pair: tuple[str, str], told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        CREATE.decode([pair])

    assert (refused.value.message, refused.value.param) == (told, pair[0])


def test_a_map_is_given_pair_by_pair() -> None:
    assert CREATE.decode([("metadata[team]", "blue"), ("metadata[a[b].c]", "1"), ("metadata[", "x"), ("other[team]", "x")]) == {
        "metadata": {"team": "blue", "a[b].c": "1"}
    }


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([("metadata", "a")], "Invalid 'metadata': its pairs are given one by one, as in metadata[name]=value."),
        ([("metadata[a]", "1"), ("metadata[a]", "1")], "Invalid 'metadata.a': it is given twice."),
    ],
)
def test_a_map_given_otherwise_is_refused(pairs: list[tuple[str, str]], told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        CREATE.decode(pairs)

    assert refused.value.message == told


def test_a_scalar_given_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="given twice"):
        CREATE.decode([("model", "a"), ("model", "a")])


def test_a_codec_is_compiled_once() -> None:
    assert query_codec(GetResponseRequest.DESCRIPTOR) is query_codec(GetResponseRequest.DESCRIPTOR)
