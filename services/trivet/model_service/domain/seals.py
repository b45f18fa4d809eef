"""Reasoning in a form that only its own provider can read, as callers keep it and hand it back.

A seal is the provider's text, such as a signature, behind the name of the dialect that made it, so that a conversation may go on
at another provider: a dialect opens its own seals and passes over all others. What the Responses API encrypts has no such
name in front: it passes through as it is.
"""

_PREFIX = "trivet"


def seal(dialect: str, kind: str, payload: str) -> str:
    """The seal of what a dialect wants back; `dialect` and `kind` hold no colon."""
    return f"{_PREFIX}:{dialect}:{kind}:{payload}"


def open_seal(sealed: str, dialect: str) -> tuple[str, str] | None:
    """The kind and the payload of a seal of this dialect; None for any other."""
    parts = sealed.split(":", 3)
    return (parts[2], parts[3]) if len(parts) == 4 and parts[:2] == [_PREFIX, dialect] else None


def dialect_of(sealed: str) -> str:
    """The name of the dialect that made this seal, "" for what is none."""
    return sealed.split(":", 2)[1] if is_seal(sealed) else ""


def is_seal(encrypted: str) -> bool:
    """Whether this is a seal of any dialect, and so nothing that the Responses API has encrypted."""
    return encrypted.startswith(f"{_PREFIX}:")
