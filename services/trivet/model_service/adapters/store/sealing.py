"""Encryption of what must not be read where it is kept: the requests of background runs carry the secrets of tools."""

import base64
import hashlib
import logging
import os
import secrets
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trivet.kernel.errors import Overloaded

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_log = logging.getLogger("trivet.store")


class Seal:
    """Encrypts and decrypts by the secret that `secret` gives, which is not asked before it is needed.

    Where it gives none but an OSError, both raise Overloaded.
    """

    def __init__(self, secret: Callable[[], str]) -> None:
        self._secret = secret

    def seal(self, data: bytes) -> bytes:
        """`data` for nobody to read; nothing stays nothing."""
        return self._fernet.encrypt(data) if data else b""

    def unseal(self, sealed: bytes) -> bytes:
        """What was sealed; nothing where it was by another secret, which is logged."""
        if not sealed:
            return b""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            _log.error("a request of a background run was encrypted by another `store.secret_key`: it cannot be run")
            return b""

    @cached_property
    def _fernet(self) -> "Fernet":
        # Most processes never have a background run, and need not load it.
        from cryptography.fernet import Fernet

        try:
            secret = self._secret()
        except OSError as error:
            _log.error("the key of background runs can neither be read nor made: %s", error)
            raise Overloaded("The store cannot be used now; try again.") from error
        return Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()))


def secret_beside(database: Path) -> str:
    """The secret in the file beside `database`, which is made if it is not there; all processes get the same."""
    file = database.with_name(f"{database.name}.key")
    if not file.exists():
        # Written under another name first: nobody ever reads half of it. A link fails where somebody was faster.
        fresh = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        fresh.touch(mode=0o600, exist_ok=False)
        try:
            fresh.write_text(secrets.token_urlsafe(32), encoding="ascii")
            os.link(fresh, file)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return file.read_text(encoding="ascii")
