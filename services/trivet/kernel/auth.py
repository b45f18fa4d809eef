"""API keys: kept as digests, and looked up by them."""

import hashlib

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

        What is looked up is the digest, of which a caller can choose no part, so the time that it takes tells nothing about which
        key nearly matched; nor does it grow with their number.
        """
        return self._names.get(hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())
