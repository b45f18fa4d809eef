"""The names under which tools of MCP servers are offered to a model.

Tools of several servers share one namespace, and upstreams take only certain names, so a tool keeps its own name where it can
and gets a unique legal one where it can't.
"""

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

LEGAL = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
_LONGEST = 64
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ToolKey:
    """A tool where it lives: the position of its server in the request, what the server is called, and the tool's own name."""

    server_index: int
    server: str
    tool: str


def wire_names(keys: Iterable[ToolKey], taken: Collection[str] = ()) -> dict[str, ToolKey]:
    """A unique legal name for each tool, in the order given, none of them one of those `taken`.

    The first tool with a legal name keeps it. A later one of the same name is offered as `<server>_<tool>`; what still clashes
    is numbered. A name that is cut to 64 characters ends in a hash of the whole, so that it stays the same from run to run.
    """
    named: dict[str, ToolKey] = {}
    used = set(taken)
    for key in keys:
        name = legal_name(key.tool)
        if name in used:
            name = legal_name(f"{key.server}_{key.tool}")
        name = _numbered(name, used)
        used.add(name)
        named[name] = key
    return named


def legal_name(name: str) -> str:
    """`name` as upstreams take it."""
    legal = _ILLEGAL.sub("_", name) or "tool"
    if len(legal) <= _LONGEST:
        return legal
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{legal[: _LONGEST - 9]}_{digest}"


def _numbered(name: str, taken: Collection[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        suffix = f"_{number}"
        candidate, number = name[: _LONGEST - len(suffix)] + suffix, number + 1
    return candidate
