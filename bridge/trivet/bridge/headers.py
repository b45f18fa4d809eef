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
_LEGAL_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def bearer(headers: CIMultiDictProxy[str]) -> str:
    """The caller's key. Raises MissingKey."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MissingKey
    return token.strip()


def metadata(headers: CIMultiDictProxy[str], key: str, request_id: str) -> Metadata:
    """The key, the request id, and what the caller tells Trivet under `x-trivet-` or the older `x-tfy-`.

    Raises InvalidRequest for a value that gRPC can't carry.
    """
    own: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(_ERA):
            own.setdefault(_OWN + lower.removeprefix(_ERA), _printable(lower, value))
        elif lower.startswith(_OWN):
            own[lower] = _printable(lower, value)
    return ((AUTHORIZATION, f"Bearer {key}"), (REQUEST_ID, request_id), *own.items())


def timeout(sent: Metadata) -> float | None:
    """The seconds that the caller gives the request; None if it does not say. Raises InvalidRequest."""
    text = dict(sent).get(_TIMEOUT)
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise InvalidRequest(f"Invalid '{_TIMEOUT}': expected milliseconds, at least 1.", _TIMEOUT)
    return int(text) / 1000


def _printable(name: str, value: str) -> str:
    if not _LEGAL_VALUE.fullmatch(value):
        raise InvalidRequest(f"Invalid '{name}': only printable ASCII is allowed; escape other characters.", name)
    return value
