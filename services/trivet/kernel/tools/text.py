"""What the model reads of a tool's result: chat messages carry only text."""

import json
from collections.abc import Iterable


def failure(message: str) -> str:
    """The content that tells the model that a call failed, and why."""
    return json.dumps({"error": message}, ensure_ascii=False)


def result(pieces: Iterable[str], structured: str | None, *, is_error: bool) -> str:
    """The text of a result: its pieces joined by line ends, or the structured result (JSON text) where there are none."""
    text = "\n".join(pieces) or structured or ""
    return failure(text or "The tool failed and gave no reason.") if is_error else text


def not_text(kind: str, media_type: str, size: int) -> str:
    """Stands in for a piece that is no text, so that the model knows of it: `[image: image/png, 1234 bytes]`."""
    return f"[{kind}: {media_type}, {size} bytes]"
