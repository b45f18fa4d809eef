"""Parameters that have other values for a target than in the caller's request."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import orjson
from google.protobuf.message import Message

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.validation import validate

M = TypeVar("M", bound=Message)

_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""Names of the same limit in different APIs: whichever of them is configured, it becomes the first one that an API has."""


def overridden(request: M, params: Mapping[str, object]) -> M:
    """A copy of a request in which these parameters have these values, and null ones none; the request itself without any.

    They are JSON by the names of the request's API. A value takes the place of the caller's as a whole. What the API does not
    know is passed on like any unknown parameter.

    Raises:
        InvalidRequest: a value is none that the caller could have sent.
    """
    if not params:
        return request
    given = _in_words_of(request, params)
    changes = codec_for(type(request)).decode({name: value for name, value in given.items() if value is not None}, strict=True)
    copy = type(request)()
    copy.CopyFrom(request)
    known = copy.DESCRIPTOR.fields_by_name
    for name in given:
        if name in known:
            copy.ClearField(name)
    extra = orjson.loads(getattr(copy, "extra", "") or "{}")
    copy.MergeFrom(changes)
    if extra:
        rest = {name: value for name, value in extra.items() if name not in given}
        # The field that keeps what the contract does not know is one text, which merging has replaced.
        merged: Any = copy
        merged.extra = orjson.dumps(rest | orjson.loads(merged.extra or "{}")).decode()
    validate(copy)
    return copy


def _in_words_of(request: Message, params: Mapping[str, object]) -> dict[str, object]:
    known = request.DESCRIPTOR.fields_by_name
    limits = [name for name in _LIMITS if name in known]
    given = {name: value for name, value in params.items() if name not in _LIMITS}
    if limits and (told := [params[name] for name in _LIMITS if name in params]):
        given |= dict.fromkeys(limits, None)
        given[limits[0]] = told[0]
    return given
