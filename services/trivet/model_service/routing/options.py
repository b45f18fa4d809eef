"""What a caller wants of the routing of its call, by the headers of the contract; they come as the metadata of the RPC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from trivet.kernel.call import Call, current_call
from trivet.kernel.errors import InvalidRequest

RETRY: Final = "x-trivet-retry-config"
TIMEOUT: Final = "x-trivet-request-timeout"
FIRST_WORD_TIMEOUT: Final = "x-trivet-ttft-timeout-ms"
METADATA: Final = "x-trivet-metadata"
PROVIDER: Final = "x-trivet-provider-name"

_PASSED: Final = "x-trivet-header-"
"""What the bridge puts before the names of headers that routes are sticky by: only what begins so travels between services."""

_MOST_ATTEMPTS: Final = 10
_MOST_MILLISECONDS: Final = 9_999_999_999
_MOST_CHARACTERS: Final = 128
_MOST_NOTES: Final = 32
_LONGEST_NAME: Final = 64

SAID: Final = frozenset({RETRY, TIMEOUT, FIRST_WORD_TIMEOUT, METADATA})
"""The headers that options are made of."""

Given = Mapping[str, str | bytes]


@dataclass(frozen=True, slots=True)
class Options:
    """What the headers of a call say. `retry` has fields of `Retry`; seconds are None where nothing is said."""

    retry: dict[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    first_token_timeout: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


NOTHING_SAID: Final = Options()


def options_of(given: Given) -> Options:
    """What the metadata of an RPC say. Raises InvalidRequest, whose `param` is the header at fault."""
    return Options(_retry(given), _seconds(given, TIMEOUT), _seconds(given, FIRST_WORD_TIMEOUT), _metadata(given))


def named_provider() -> str:
    """The provider of the models that the running RPC names without one; "" where it does not say."""
    call = current_call.get()
    return _text(call.metadata, PROVIDER) if call else ""


def header_of(call: Call | None, name: str) -> str:
    """The value of a header that the operator has configured; "" where it is not given."""
    if call is None:
        return ""
    lower = name.lower()
    return _text(call.metadata, _PASSED + lower) or _text(call.metadata, lower)


def _text(given: Given, name: str) -> str:
    value = given.get(name, "")
    return value if isinstance(value, str) else ""


def _retry(given: Given) -> dict[str, Any]:
    if not (text := _text(given, RETRY)):
        return {}
    wrong = InvalidRequest(
        f'Invalid \'{RETRY}\': expected a JSON object as in {{"attempts": 3, "onStatusCodes": [429, 503]}}, '
        f"with 1 to {_MOST_ATTEMPTS} attempts.",
        RETRY,
    )
    config = _object(text, wrong)
    retry: dict[str, Any] = {}
    if (attempts := config.pop("attempts", None)) is not None:
        if not _is_whole(attempts) or not 1 <= attempts <= _MOST_ATTEMPTS:
            raise wrong
        retry["attempts"] = attempts
    if (codes := config.pop("onStatusCodes", None)) is not None:
        if not isinstance(codes, list) or not all(_is_whole(code) and 400 <= code < 600 for code in codes):
            raise wrong
        retry["on_status"] = frozenset(codes)
    if config:
        raise wrong
    return retry


def _metadata(given: Given) -> Mapping[str, str]:
    if not (text := _text(given, METADATA)):
        return {}
    wrong = InvalidRequest(
        f"Invalid '{METADATA}': expected a JSON object of at most {_MOST_NOTES} texts, of at most {_MOST_CHARACTERS} characters "
        f"under names of at most {_LONGEST_NAME}.",
        METADATA,
    )
    found = _object(text, wrong)
    if len(found) > _MOST_NOTES or not all(map(_is_note, found, found.values())):
        raise wrong
    return found


def _is_note(name: str, value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_CHARACTERS and 0 < len(name) <= _LONGEST_NAME


def _seconds(given: Given, name: str) -> float | None:
    if not (text := _text(given, name)):
        return None
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:20]) <= _MOST_MILLISECONDS:
        raise InvalidRequest(f"Invalid '{name}': expected milliseconds, between 1 and {_MOST_MILLISECONDS}.", name)
    return int(text) / 1000


def _object(text: str, wrong: InvalidRequest) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except ValueError:
        raise wrong from None
    if not isinstance(value, dict):
        raise wrong
    return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
