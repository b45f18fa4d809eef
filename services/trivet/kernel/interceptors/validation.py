"""Refuses requests that break the rules of the contract, before a servicer sees them."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from google.protobuf.message import Message

from trivet.kernel.call import Call
from trivet.kernel.validation import validate


def validation(call: Call) -> None:
    """Check the request message; of a streaming request the first one, which has the parameters, when it is read.

    Raises:
        InvalidRequest: a rule is broken; `param` is the path of the field.
    """
    request = call.request
    if isinstance(request, Message):
        validate(request)
    elif isinstance(request, AsyncIterable):
        call.request = _first_checked(request)


async def _first_checked(messages: AsyncIterable[Any]) -> AsyncIterator[Any]:
    checked = False
    async for message in messages:
        if not checked:
            validate(message)
            checked = True
        yield message
