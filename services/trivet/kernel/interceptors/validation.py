"""Refuses requests that break the rules of the contract, before a servicer sees them."""

from google.protobuf.message import Message

from trivet.kernel.call import Call, Proceed
from trivet.kernel.validation import validate


async def validation(call: Call, proceed: Proceed) -> None:
    """Check the request message; the messages of a streaming request are the servicer's to check.

    Raises:
        InvalidRequest: a rule is broken; `param` is the path of the field.
    """
    if not call.infrastructure and isinstance(call.request, Message):
        validate(call.request)
    await proceed()
