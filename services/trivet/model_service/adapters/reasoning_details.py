"""OpenRouter's `reasoning_details`: what its models thought, in whichever form their makers sign or encrypt it."""

from typing import Any, Final

import orjson

from trivet.model_service.domain.seals import open_seal, seal

DETAILS: Final = "reasoning_details"

_DIALECT: Final = "openrouter"
_GROWING: Final = ("text", "summary", "data", "signature")

Json = dict[str, Any]


class Details:
    """Gathers the details of one reasoning, which a stream tells in pieces of one index."""

    def __init__(self) -> None:
        self._found: list[Json] = []

    def add(self, told: object) -> bool:
        """Takes the details of a chunk; False if it has none."""
        pieces = [piece for piece in told if isinstance(piece, dict)] if isinstance(told, list) else []
        for piece in pieces:
            last = self._found[-1] if self._found else {}
            if last and (last.get("type"), last.get("index")) == (piece.get("type"), piece.get("index")):
                grown = {key: _text(last.get(key)) + _text(piece.get(key)) for key in _GROWING if key in last or key in piece}
                last |= {key: value for key, value in piece.items() if value is not None} | grown
            else:
                self._found.append(dict(piece))
        return bool(pieces)

    def sealed(self) -> str:
        """The seal of what was gathered since the last one; "" if nothing was."""
        found, self._found = self._found, []
        return seal(_DIALECT, "details", orjson.dumps(found).decode()) if found else ""


def open_details(sealed: str) -> list[Json]:
    """The details in a seal; none in that of another dialect."""
    opened = open_seal(sealed, _DIALECT)
    try:
        details = orjson.loads(opened[1]) if opened else []
    except orjson.JSONDecodeError:
        return []
    return details if isinstance(details, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
