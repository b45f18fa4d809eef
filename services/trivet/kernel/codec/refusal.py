"""The refusal of a JSON value, which learns its place on the way up to the caller."""

from collections.abc import Sequence
from typing import Any

from trivet.kernel.codec.shape import kind_of
from trivet.kernel.errors import InvalidRequest

_LONGEST_SHOWN = 80


class RefusalError(Exception):
    """A value that the contract does not allow.

    Raised where the value is; every object and array around it appends its key or index to `path`, innermost first,
    so that a path is only ever built for the value at fault.
    """

    def __init__(self, before: str, after: str, *path: str | int) -> None:
        super().__init__(before, after)
        self.before = before
        self.after = after
        self.path: list[str | int] = list(path)

    def as_error(self) -> InvalidRequest:
        """The error for the caller, with the path as its `param`."""
        param = path_text(self.path[::-1])
        place = f"'{param}'" if param else "body"
        return InvalidRequest(f"{self.before} {place}{self.after}", param)


def expected(what: str, value: Any) -> RefusalError:
    """The refusal of a value of the wrong kind; `what` is what it should have been."""
    return RefusalError("Invalid", f": expected {what}, but got {kind_of(value).value}.")


def invalid(problem: str, *path: str | int) -> RefusalError:
    """The refusal of a value for a reason of its own."""
    return RefusalError("Invalid", f": {problem}.", *path)


def missing(*path: str | int) -> RefusalError:
    """The refusal of an object that lacks a key."""
    return RefusalError("Missing required parameter:", ".", *path)


def one_of(names: Sequence[str]) -> str:
    """The words for a choice among strings: 'a', 'b' or 'c'."""
    quoted = [f"'{name}'" for name in names]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def shown(value: str) -> str:
    """A caller's string as an error may repeat it: quoted, and not at any length."""
    return f"'{value}'" if len(value) <= _LONGEST_SHOWN else f"'{value[:_LONGEST_SHOWN]}...'"


def path_text(path: Sequence[str | int]) -> str:
    """A path from the outermost key to the innermost: `mcp_servers[0].tools[2].name`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part[:_LONGEST_SHOWN]}" for part in path]
    return "".join(parts).removeprefix(".")
