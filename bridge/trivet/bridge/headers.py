"""What of an HTTP request's headers travels on as gRPC metadata."""

import re
from typing import Final

from multidict import CIMultiDictProxy

from trivet.kernel.call import AUTHORIZATION, REQUEST_ID
from trivet.kernel.errors import InvalidRequest, MissingKey

Metadata = tuple[tuple[str, str], ...]

_OWN: Final = "x-trivet-"
_ERA: Final = "x-tfy-"
_TIMEOUT: Final = "x-trivet-request-timeout"
_BETA: Final = "anthropic-beta"
"""What clients of the Messages API name features by that are not in it for everybody."""

_LEGAL_NAME: Final = re.compile(r"[a-z0-9_.-]+(?<!-bin)")
_LEGAL_VALUE: Final = re.compile(r"[\x20-\x7e]*")
# More digits than these are years, which gRPC takes for a deadline that has passed.
_MILLISECONDS: Final = re.compile(r"0*[1-9][0-9]{0,9}")
_MOST_BYTES: Final = 16 * 1024
"""What the headers of one request may hold that travel on; `kernel.rpc.METADATA_BYTES` has room for it."""


def bearer(headers: CIMultiDictProxy[str]) -> str:
    """The caller's key: a bearer token, or what clients of the Messages API send as `x-api-key`. Raises MissingKey."""
    given = headers.get("Authorization") or f"Bearer {headers.get('x-api-key', '')}"
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MissingKey
    return token.strip()


def metadata(headers: CIMultiDictProxy[str], key: str, request_id: str) -> Metadata:
    """The key, the request id, and what the caller tells Trivet under `x-trivet-` or the older `x-tfy-`.

    Raises InvalidRequest for what gRPC can't carry.
    """
    own: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(_ERA):
            own.setdefault(_OWN + lower.removeprefix(_ERA), _portable(lower, value))
        elif lower.startswith(_OWN):
            own[lower] = _portable(lower, value)
        elif lower == _BETA:
            own[_OWN + lower] = _portable(lower, value)
    if sum(len(name) + len(value) for name, value in own.items()) > _MOST_BYTES:
        raise InvalidRequest(f"The `{_OWN}` headers are too large: together they may hold {_MOST_BYTES} bytes.")
    return ((AUTHORIZATION, f"Bearer {key}"), (REQUEST_ID, request_id), *own.items())


def timeout(sent: Metadata) -> float | None:
    """The seconds that the caller gives the request; None if it does not say. Raises InvalidRequest."""
    text = dict(sent).get(_TIMEOUT)
    if text is None:
        return None
    if not _MILLISECONDS.fullmatch(text):
        raise InvalidRequest(f"Invalid '{_TIMEOUT}': expected milliseconds, between 1 and 9999999999.", _TIMEOUT)
    return int(text) / 1000


def _portable(name: str, value: str) -> str:
    if not _LEGAL_NAME.fullmatch(name):
        raise InvalidRequest("A header has a name that can't travel on: use letters, digits, `_`, `.`, `-`, and no `-bin`.", name)
    if not _LEGAL_VALUE.fullmatch(value):
        raise InvalidRequest(f"Invalid '{name}': only printable ASCII is allowed; escape other characters.", name)
    return value
