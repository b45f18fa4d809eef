"""The ids of what is kept: responses, conversations, items, records of calls."""

import secrets
import time
from itertools import count
from typing import Final

from trivet.kernel.chance import CHANCE, DIGITS

_MOMENT: Final = 12
"""The digits of the time in an id."""


def new_id(prefix: str) -> str:
    """A fresh id that nobody can guess: after the prefix, 12 hexadecimal digits of the time, and 36 of chance.

    An index has ids that are made at about the same time beside each other, so that writing them changes few of its pages.
    """
    # As `hex_digits` does, without a call of it.
    digits = CHANCE.pop() if CHANCE else CHANCE.fetch()
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{digits}"


def id_beside(other: str, prefix: str) -> str:
    """A fresh id that nobody can guess, of the moment of an `other` one, which saves telling the time again."""
    return f"{prefix}_{other[-_MOMENT - DIGITS : -DIGITS]}{CHANCE.pop() if CHANCE else CHANCE.fetch()}"


class CountedIds:
    """Ids for what is made with every call, and is shown to nobody but whose it is: they cost less than those that nobody can guess.

    After the prefix, 12 hexadecimal digits of the time when this object was made, 12 of chance that are its own, and 8 that count.
    """

    def __init__(self, prefix: str) -> None:
        self._mine = f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"
        self._count = count()

    def next(self) -> str:
        """A fresh id."""
        return f"{self._mine}{next(self._count):08x}"
