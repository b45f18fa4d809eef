"""Lets a call pass only with a key that the configuration holds."""

from trivet.kernel.auth import KeyRing
from trivet.kernel.call import AUTHORIZATION, Call
from trivet.kernel.errors import InvalidKey, MissingKey


class Authentication:
    """Reads `authorization: Bearer <key>`."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def __call__(self, call: Call) -> None:
        """Set `call.principal` to the name of the caller's key.
        What a running call asks of other services of its process is asked with the key that let it in, though that key may be
        gone from the configuration meanwhile: running calls go on.

        Raises:
            MissingKey: there is no bearer key.
            InvalidKey: it is not one of ours.
        """
        call.principal = _let_in(call) or self._keys.principal(_bearer(call))
        if call.principal is None:
            raise InvalidKey


def _let_in(call: Call) -> str | None:
    """Who makes the running RPC that this call is a part of, if it has shown the same key."""
    parent = call.parent
    if parent is None or parent.ended or not parent.method:
        return None
    return parent.principal if parent.metadata.get(AUTHORIZATION) == call.metadata.get(AUTHORIZATION) else None


def _bearer(call: Call) -> str:
    header = call.metadata.get(AUTHORIZATION, "")
    scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise MissingKey
    return token
