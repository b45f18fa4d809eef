"""The whole contract survives the codec: JSON to messages and back."""

import json
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.reachable import MESSAGES, REQUESTS, class_of
from tests.contract.strategies import json_of, spoilt_json_of
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest
from trivet.kernel.validation import validate

# The same examples in each run; to look for more of them, raise the numbers and take `derandomize` away.
FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
MANY = settings(FEW, max_examples=60)


def exactly(value: Any) -> str:
    """A text that is equal for equal JSON values only; Python's `==` finds true and 1 equal."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("descriptor", MESSAGES, ids=lambda descriptor: descriptor.full_name)
@FEW
@given(data=st.data())
def test_json_survives_and_the_message_and_unknown_keys_too(descriptor: Descriptor, data: st.DataObject) -> None:
    codec = codec_for(class_of(descriptor))
    value = data.draw(json_of(descriptor, unknown_keys=data.draw(st.booleans())))

    message = codec.loads(orjson.dumps(value), strict=True)
    text = codec.dumps(message)

    assert exactly(orjson.loads(text)) == exactly(value)
    assert codec.loads(text, strict=True) == message


@pytest.mark.parametrize("descriptor", REQUESTS, ids=lambda descriptor: descriptor.full_name)
@MANY
@given(data=st.data())
def test_requests_of_the_contract_pass_validation(descriptor: Descriptor, data: st.DataObject) -> None:
    validate(codec_for(class_of(descriptor)).decode(data.draw(json_of(descriptor)), strict=True))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("descriptor", REQUESTS, ids=lambda descriptor: descriptor.full_name)
@settings(MANY, max_examples=100)
@given(data=st.data())
def test_other_json_is_refused_by_name_or_becomes_a_message(descriptor: Descriptor, strict: bool, data: st.DataObject) -> None:
    codec = codec_for(class_of(descriptor))
    value = data.draw(spoilt_json_of(descriptor))

    try:
        message = codec.decode(value, strict=strict)
        validate(message)
    except InvalidRequest:
        return
    assert isinstance(orjson.loads(codec.dumps(message)), dict)
