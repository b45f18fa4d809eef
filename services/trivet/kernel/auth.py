"""API keys: kept as digests, compared in constant time."""

import hashlib
import hmac

from trivet.kernel.settings import AuthSettings


class KeyRing:
    """The keys that may call; only their SHA-256 digests are held, and they are never printed."""

    def __init__(self, settings: AuthSettings) -> None:
        self.apply(settings)

    def apply(self, settings: AuthSettings) -> None:
        """Let these keys call, and no others."""
        self._names = {hashlib.sha256(entry.key.get_secret_value().encode()).digest(): entry.name for entry in settings.keys}

    def principal(self, token: str) -> str | None:
        """The name of the key `token`, None if it is not one of ours.

        All keys are compared, each in constant time, so the time taken tells nothing about which one nearly matched.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found: str | None = None
        for known, name in self._names.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found
