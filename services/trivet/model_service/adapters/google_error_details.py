"""What Google's errors tell in their details, each an object with its type: `google.rpc.RetryInfo` and the like."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_SECONDS: Final = re.compile(r"(\d+(?:\.\d+)?)s")


def retry_delay(error: Mapping[str, Any]) -> float | None:
    """In how many seconds to try again, from an error object; None where it does not tell."""
    for detail in _details(error, "RetryInfo"):
        if told := _SECONDS.fullmatch(str(detail.get("retryDelay"))):
            return float(told[1])
    return None


def refuses_key(error: Mapping[str, Any]) -> bool:
    """Whether it is about the key, which Google says with the status of a bad request."""
    return any(detail.get("reason") == "API_KEY_INVALID" for detail in _details(error, "ErrorInfo"))


def _details(error: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type")).endswith(f"google.rpc.{kind}"):
            yield detail
