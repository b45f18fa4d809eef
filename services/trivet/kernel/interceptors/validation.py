"""Refuses requests that break the rules of the contract, before a servicer sees them."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Final

from google.protobuf.message import Message

from trivet.kernel.call import Call
from trivet.kernel.validation import validate

_TURNS: Final = 10
_TURN_SECONDS: Final = 0.002
"""Within which grpcio tells that a caller has left, after it has told of the end of the request: its own thread has to come to run."""


def validation(call: Call) -> None:
    """Check the request message; of a streaming request the first one, which has the parameters, when it is read.

    Raises:
        InvalidRequest: a rule is broken; `param` is the path of the field.
    """
    request = call.request
    if isinstance(request, Message):
        validate(request)
    elif isinstance(request, AsyncIterable):
        call.request = _first_checked(request, call)


async def _first_checked(messages: AsyncIterable[Any], call: Call) -> AsyncIterator[Any]:
    checked = False
    async for message in messages:
        if not checked:
            validate(message)
            checked = True
        yield message
    if not getattr(call.context, "tells_leaving_from_ending", False):
        await _caller_stays(call)


async def _caller_stays(call: Call) -> None:
    # To grpcio a caller that leaves has ended its request. Half of one must not be taken for the whole.
    for _ in range(_TURNS):
        await asyncio.sleep(_TURN_SECONDS)
        if call.context.cancelled():
            raise asyncio.CancelledError
