"""Chance that nobody can guess, fetched from the operating system for many uses at a time."""

import os
import secrets
from typing import Final

DIGITS: Final = 36
_AT_ONCE: Final = 200
"""A question to the system costs more than all else that an id does."""


class Chance(list[str]):
    """What was fetched and not used: `pop` gives 36 hexadecimal digits that were never given before, while there are any."""

    def fetch(self) -> str:
        """The same where there are none left."""
        fresh = secrets.token_hex(DIGITS * _AT_ONCE // 2)
        self += [fresh[start : start + DIGITS] for start in range(0, len(fresh), DIGITS)]
        return self.pop()


CHANCE: Final = Chance()
"""That of this process."""

# A child process would say the same as its parent.
os.register_at_fork(after_in_child=CHANCE.clear)


def hex_digits() -> str:
    """36 hexadecimal digits that were never given before."""
    return CHANCE.pop() if CHANCE else CHANCE.fetch()
