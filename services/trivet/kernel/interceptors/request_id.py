"""Gives every RPC an id: the caller's, if it is fit for a log line, else a new one."""

import re
import secrets

from trivet.kernel.call import REQUEST_ID, Call, Proceed

_FIT = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req_{secrets.token_hex(12)}"


def accepted_request_id(given: str | bytes | None) -> str:
    """`given` if it may stand in logs and headers as it is, else a new id."""
    return given if isinstance(given, str) and _FIT.fullmatch(given) else new_request_id()


async def request_id(call: Call, proceed: Proceed) -> None:
    """Set `call.request_id` and tell the caller in the trailing metadata."""
    call.request_id = accepted_request_id(call.metadata.get(REQUEST_ID))
    call.context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
    await proceed()
