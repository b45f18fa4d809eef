"""The ids of what is kept: responses, conversations, items."""

import secrets
import time


def new_id(prefix: str) -> str:
    """A fresh id that nobody can guess: after the prefix, 12 hexadecimal digits of the time, and 36 of chance.

    An index has ids that are made at about the same time beside each other, so that writing them changes few of its pages.
    """
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(18)}"
