"""The head of a request."""

import re
from collections.abc import Mapping
from typing import Final

from trivet.kernel.http1.failures import UnreachableError

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# What would end a line, or be taken for its end by somebody on the way, lets a value say more than it should.
_NO_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TARGET: Final = re.compile(r"/[!\"$-~]*")

FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
"""Headers that say where a body ends, which nobody says but who sends it."""


def first_line(method: str, target: str) -> str:
    """The line that a head begins with; `target` is a path with its query, encoded. Raises UnreachableError."""
    if not _TARGET.fullmatch(target):
        raise UnreachableError("what is asked for is not a path in ASCII without a fragment")
    return f"{method} {target} HTTP/1.1\r\n"


def lines(fields: Mapping[str, str]) -> str:
    """Headers as they are sent. Raises UnreachableError for what would not be a header, or more than one."""
    for name, value in fields.items():
        if not _NAME.fullmatch(name) or _NO_VALUE.search(value):
            raise UnreachableError("a header has a name or a value that cannot be sent")
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())


def merged(*fields: Mapping[str, str]) -> dict[str, str]:
    """All of them, the later ones first in rank, however their names are written."""
    ranked: dict[str, tuple[str, str]] = {}
    for some in fields:
        ranked |= {name.lower(): (name, value) for name, value in some.items()}
    return dict(ranked.values())
