"""The parameters of a request that no field stands for, on their way to the provider."""

from collections.abc import Mapping
from typing import Any, cast

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message


def extra_parameters(request: Message) -> Mapping[str, str]:
    """The keys at the top of `request` that are not of the contract, each with its JSON text."""
    given: dict[str, Any] = orjson.loads(getattr(request, "extra", "") or "{}")
    # A known name stands here only with a value that says as much as its absence: null, or nothing in a list.
    known = cast("Descriptor", request.DESCRIPTOR).fields_by_name
    return {name: orjson.dumps(value).decode() for name, value in given.items() if name not in known}
