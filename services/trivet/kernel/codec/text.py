"""JSON text to JSON values, refusing what two readers could understand differently."""

import json
from collections import Counter
from typing import Any

import orjson

from trivet.kernel.errors import InvalidRequest

_TOO_DEEP = "The body is not acceptable JSON: it is nested too deeply."


def parse(data: bytes | str) -> Any:
    """The value of a JSON text; raises `InvalidRequest` with line and column for what is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _no_json(error) from None


def parse_once(data: bytes | str) -> Any:
    """The value of a JSON text in which no object has a key twice; raises `InvalidRequest` naming the key.

    Of a key given twice, a filter before us could have read the first and we the last.
    """
    try:
        value = orjson.loads(data)
        written = orjson.dumps(value)
    except orjson.JSONDecodeError as error:
        raise _no_json(error) from None
    except orjson.JSONEncodeError:
        raise InvalidRequest(_TOO_DEEP) from None
    encoded = data.encode() if isinstance(data, str) else data
    # Where a key is given twice, the value written again has fewer strings than its text. A text that writes a quotation mark by its
    # number could make up for it: of that one, nothing is known.
    if written != encoded and (written.count(b'"') != encoded.count(b'"') or b"\\u0022" in encoded):
        _refuse_duplicates(encoded.decode())
    return value


def _no_json(error: orjson.JSONDecodeError) -> InvalidRequest:
    return InvalidRequest(f"The body is not valid JSON: {error}.")


def _refuse_duplicates(data: str) -> None:
    def pairs_hook(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            raise InvalidRequest(f"The body is not acceptable JSON: an object has the key '{key[:80]}' twice.", key[:80])

    json.loads(data, object_pairs_hook=pairs_hook)


def place_of_lone_surrogate(value: Any) -> list[str | int]:
    """The path, innermost first, of a string in a JSON value that has no UTF-8 form; empty when there is none."""
    waiting: list[tuple[Any, list[str | int]]] = [(value, [])]
    while waiting:
        item, path = waiting.pop()
        if isinstance(item, str) and not _has_utf8(item):
            return path
        if isinstance(item, dict):
            if not all(map(_has_utf8, item)):
                return path
            waiting += [(inner, [key, *path]) for key, inner in item.items()]
        elif isinstance(item, list):
            waiting += [(inner, [index, *path]) for index, inner in enumerate(item)]
    return []


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
