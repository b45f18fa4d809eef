"""The limits of the notes that callers keep with responses and conversations."""

from collections.abc import Mapping
from typing import Final

from trivet.kernel.errors import InvalidRequest

_MOST_KEY: Final = 64
_MOST_VALUE: Final = 512


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raises InvalidRequest for a key or value that is too long; how many there may be, the contract checks."""
    for key, value in metadata.items():
        if len(key) > _MOST_KEY:
            raise InvalidRequest(f"Invalid 'metadata': a key has at most {_MOST_KEY} characters.", "metadata")
        if len(value) > _MOST_VALUE:
            told = f"Invalid 'metadata.{key}': expected at most {_MOST_VALUE} characters, but got {len(value)}."
            raise InvalidRequest(told, f"metadata.{key}")
