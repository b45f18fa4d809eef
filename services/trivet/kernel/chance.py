"""Chance that nobody can guess, fetched from the operating system for many uses at a time."""

import os
import secrets
from typing import Final

_DIGITS: Final = 36
_AT_ONCE: Final = 200
"""A question to the system costs more than all else that an id does."""


class _Chance:
    def __init__(self) -> None:
        self._left: list[str] = []
        # A child process would say the same as its parent.
        os.register_at_fork(after_in_child=self._left.clear)

    def digits(self) -> str:
        if not self._left:
            fresh = secrets.token_hex(_DIGITS * _AT_ONCE // 2)
            self._left += [fresh[start : start + _DIGITS] for start in range(0, len(fresh), _DIGITS)]
        return self._left.pop()


hex_digits: Final = _Chance().digits
"""36 hexadecimal digits that were never given before."""
