"""What of an HTTP request's headers travels on as gRPC metadata."""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any, Final

from multidict import CIMultiDictProxy

from trivet.kernel.call import AUTHORIZATION, REQUEST_ID
from trivet.kernel.errors import InvalidRequest, MissingKey

Metadata = tuple[tuple[str, str], ...]

FIXED: Final = 2
"""So many pairs stand in all metadata: the key and the request id."""

_OWN: Final = "x-trivet-"
_ERA: Final = "x-tfy-"
_PASSED: Final = "x-trivet-header-"
_TIMEOUT: Final = "x-trivet-request-timeout"
_ALWAYS_PASSED: Final = frozenset({"anthropic-beta"})
"""Headers of clients that providers are told in any case: what Anthropic's name features by that are not there for everybody."""

TOLD: Final = ("x-trivet-resolved-model", "x-trivet-applied-configurations", "server-timing")
"""The headers of an answer that a service tells."""

_TOLD_AS: Final = {name: (name, _ERA + name.removeprefix(_OWN)) if name.startswith(_OWN) else (name,) for name in TOLD}

_LEGAL_NAME: Final = re.compile(r"[a-z0-9_.-]+(?<!-bin)")
_LEGAL_VALUE: Final = re.compile(r"[\x20-\x7e]*")
# More digits than these are years, which gRPC takes for a deadline that has passed.
_MILLISECONDS: Final = re.compile(r"0*[1-9][0-9]{0,9}")
_MOST_BYTES: Final = 16 * 1024
"""What the headers of one request may hold that travel on; `kernel.rpc.METADATA_BYTES` has room for it."""


def bearer(headers: CIMultiDictProxy[str]) -> str:
    """The caller's key: a bearer token, or what clients of the Messages API send as `x-api-key`. Raises MissingKey."""
    given = headers.get("Authorization") or f"Bearer {headers.get('x-api-key', '')}"
    token = given[7:].strip()
    if not token or given[:7].lower() != "bearer ":
        raise MissingKey
    return token


class Travelling:
    """Tells which headers travel on: what the caller tells Trivet under `x-trivet-` or the older `x-tfy-`, and those that are
    `passed`, by their names in lower case, which travel as `x-trivet-header-<name>`.
    """

    def __init__(self, passed: Collection[str] = ()) -> None:
        self._passed = _ALWAYS_PASSED.union(passed)
        # The same names come with nearly every request.
        self._names = lru_cache(maxsize=256)(self._names_of)

    def metadata(self, headers: CIMultiDictProxy[str], key: str, request_id: str) -> Metadata:
        """The metadata of a request: its key, its id, and what travels on. Raises InvalidRequest for what gRPC can't carry."""
        fixed = ((AUTHORIZATION, f"Bearer {key}"), (REQUEST_ID, request_id))
        own: dict[str, str] = {}
        for name, value in headers.items():
            if names := self._names(name):
                self._add(own, name, names, value)
        if not own:
            return fixed
        if sum(len(name) + len(value) for name, value in own.items()) > _MOST_BYTES:
            raise InvalidRequest(f"The `{_OWN}` headers are too large: together they may hold {_MOST_BYTES} bytes.")
        return (*fixed, *own.items())

    def _add(self, own: dict[str, str], header: str, names: tuple[str, ...], value: str) -> None:
        lower = header.lower()
        if not _LEGAL_VALUE.fullmatch(value):
            raise InvalidRequest(f"Invalid '{lower}': only printable ASCII is allowed; escape other characters.", lower)
        for name in names:
            # What is said in both of the ways that we have for it counts as it is said in today's.
            if name not in own or not lower.startswith(_ERA):
                own[name] = value

    def _names_of(self, header: str) -> tuple[str, ...]:
        """The names under which a header travels, none where it does not. Raises InvalidRequest."""
        lower = header.lower()
        names: list[str] = []
        if lower.startswith(_ERA):
            names.append(_OWN + lower.removeprefix(_ERA))
        elif lower.startswith(_OWN):
            names.append(lower)
        if lower in self._passed:
            names.append(_PASSED + lower)
        if names and not _LEGAL_NAME.fullmatch(lower):
            told = "A header has a name that can't travel on: use letters, digits, `_`, `.`, `-`, and no `-bin`."
            raise InvalidRequest(told, lower)
        return tuple(names)


def timeout(sent: Metadata) -> float | None:
    """The seconds that the caller gives the request; None if it does not say. Raises InvalidRequest."""
    text = dict(sent).get(_TIMEOUT)
    if text is None:
        return None
    if not _MILLISECONDS.fullmatch(text):
        raise InvalidRequest(f"Invalid '{_TIMEOUT}': expected milliseconds, between 1 and 9999999999.", _TIMEOUT)
    return int(text) / 1000


def told(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """The headers of an answer that come as the metadata of its RPC, under both of their names where there are two."""
    found: dict[str, Any] = {}
    for name, value in metadata or ():
        # None of them is binary.
        for header in _TOLD_AS.get(name, ()):
            found[header] = value
    return found
