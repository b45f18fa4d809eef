"""Gives every RPC an id: the caller's, if it is fit for a log line, else a new one."""

import os
import re
from random import Random

from trivet.kernel.call import REQUEST_ID, Call

# Seeded by the operating system, which is too dear to be asked for each id; a child process is not to repeat its parent.
_numbers = Random()  # noqa: S311 - an id is no secret: it stands in headers and logs
os.register_at_fork(after_in_child=_numbers.seed)

_FIT = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req_{_numbers.getrandbits(96):024x}"


def accepted_request_id(given: str | bytes | None) -> str:
    """`given` if it may stand in logs and headers as it is, else a new id."""
    return given if isinstance(given, str) and _FIT.fullmatch(given) else new_request_id()


def name(call: Call) -> None:
    """Set `call.request_id` and tell the caller in the trailing metadata."""
    call.request_id = accepted_request_id(call.metadata.get(REQUEST_ID))
    call.context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
