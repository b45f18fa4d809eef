"""Answers that are JSON already.

Most whole answers are one text and nothing else. To make a message of such a one, only for a face of the same process to make JSON of
that, would cost more than all else that is done to it; so a servicer may give such a caller the JSON itself.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Rendered:
    """An answer as the JSON text that the codec would make of its message."""

    json: bytes


def accepts_rendered(context: Any) -> bool:
    """Whether the caller of the running RPC, whose handler has this context, takes a `Rendered` in place of the message."""
    return getattr(context, "accepts_rendered", False) is True
