"""API keys: kept as digests, and looked up by them."""

import hashlib
import secrets

from trivet.kernel.settings import AuthSettings


class KeyRing:
    """The keys that may call; only their digests are held, under a secret of this object, and they are never printed."""

    def __init__(self, settings: AuthSettings) -> None:
        # BLAKE2 is as sound as SHA-256, and does not go through OpenSSL, which under load showed as the longer way.
        self._secret = secrets.token_bytes(32)
        self.apply(settings)

    def apply(self, settings: AuthSettings) -> None:
        """Let these keys call, and no others."""
        self._names = {self._digest(entry.key.get_secret_value()): entry.name for entry in settings.keys}

    def principal(self, token: str) -> str | None:
        """The name of the key `token`, None if it is not one of ours.

        What is looked up is the digest, of which a caller can choose no part, so the time that it takes tells nothing about which
        key nearly matched; nor does it grow with their number.
        """
        return self._names.get(self._digest(token))

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2s(token.encode("utf-8", "surrogatepass"), key=self._secret).digest()
