"""Gives every RPC an id: the caller's, if it is fit for a log line, else a new one."""

import os
import re
import secrets
from itertools import count

from trivet.kernel.call import REQUEST_ID, Call


class _Ids:
    """Ids that no other process gives: after 16 digits of chance they are counted, which costs less than chance for each."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._mine = f"req_{secrets.token_hex(8)}"
        self._numbers = count()

    def next(self) -> str:
        return f"{self._mine}{next(self._numbers):08x}"


_ids = _Ids()
# A child process is not to repeat its parent.
os.register_at_fork(after_in_child=_ids.renew)

_FIT = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

new_request_id = _ids.next
"""An id that no other request has."""


def accepted_request_id(given: str | bytes | None) -> str:
    """`given` if it may stand in logs and headers as it is, else a new id."""
    return given if isinstance(given, str) and _FIT.fullmatch(given) else new_request_id()


def name(call: Call) -> None:
    """Set `call.request_id` and tell the caller in the trailing metadata."""
    given = call.metadata.get(REQUEST_ID)
    # Who has judged the key in this process has given the request its id by the same rule.
    call.request_id = given if call.principal and isinstance(given, str) else accepted_request_id(given)
    call.context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
