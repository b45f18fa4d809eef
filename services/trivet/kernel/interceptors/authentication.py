"""Lets a call pass only with a key that the configuration holds."""

from trivet.kernel.auth import KeyRing
from trivet.kernel.call import AUTHORIZATION, Call, Proceed
from trivet.kernel.errors import InvalidKey, MissingKey


class Authentication:
    """Reads `authorization: Bearer <key>`; health checks and reflection need none."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    async def __call__(self, call: Call, proceed: Proceed) -> None:
        """Set `call.principal` to the name of the caller's key.

        Raises:
            MissingKey: there is no bearer key.
            InvalidKey: it is not one of ours.
        """
        if not call.infrastructure:
            call.principal = self._keys.principal(_bearer(call))
            if call.principal is None:
                raise InvalidKey
        await proceed()


def _bearer(call: Call) -> str:
    header = call.metadata.get(AUTHORIZATION, "")
    scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise MissingKey
    return token
