"""What an upstream's refusal means to the caller: HTTP statuses and error objects become typed errors."""

import email.utils
import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from trivet.kernel.codec.refusal import path_text
from trivet.kernel.errors import (
    Overloaded,
    RateLimited,
    ServiceError,
    UnsupportedParameter,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
)
from trivet.kernel.http1.failures import HttpError, LateError, UnreachableError
from trivet.model_service.adapters.google_error_details import refuses_key, retry_delay

_MESSAGE_CHARACTERS = 2000
_LEAST_SECRET = 8
_OVERLOADED = frozenset({503, 529})
_TYPES = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "exceed_context_size_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "not_found_error": 404,
    "request_too_large": 413,
    "billing_error": 402,
    "authentication_error": 401,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "timeout_error": 504,
    "throttlingException": 429,
    "validationException": 400,
    "serviceUnavailableException": 503,
    "internalServerException": 500,
    "modelStreamErrorException": 502,
    "modelTimeoutException": 504,
    "modelErrorException": 502,
}
"""The status that an error object means which came without one, by its `type` or `code`."""


_AWS_STATUSES = {"ModelTimeoutException": 504, "ModelErrorException": 502, "ModelNotReadyException": 503}


class UpstreamErrors:
    """Reads the errors of one provider. No message it makes holds one of `secrets`: keys, header values, addresses."""

    def __init__(self, provider: str, secrets: Iterable[str]) -> None:
        self._provider = provider
        # Placeholders such as `none` are words of any message; what is short is no secret. The longest goes first: it
        # may hold another one.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= _LEAST_SECRET}, key=len, reverse=True)

    def from_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ServiceError:
        """The error that an HTTP answer with a status other than 2xx stands for; the names of `headers` are in lower case."""
        error = _error_object(_parsed(body))
        if named := headers.get("x-amzn-errortype"):
            # AWS blames callers for what its models fail at: a 408 and a 424 are no fault of the request.
            error["type"] = kind = named.partition(":")[0]
            status = _AWS_STATUSES.get(kind, status)
        return self._error(status, error, _retry_after(headers))

    def from_object(self, error: object) -> ServiceError:
        """The error that an error object stands for which came in a stream, or in an answer with status 200."""
        found = _error_object({"error": error})
        status = next((code for code in map(_status, _hints(found)) if code), 500)
        return self._error(status, found, None)

    def from_failure(self, failure: HttpError) -> ServiceError:
        """The error that having no answer stands for, or no more of one."""
        match failure:
            case LateError():
                return self.timeout()
            case UnreachableError():
                return self.unreachable()
            case _:
                return self.broken()

    def unreachable(self) -> ServiceError:
        """There is no connection to be had."""
        return _counted_as(503, UpstreamFailed(f"The provider `{self._provider}` cannot be reached."))

    def broken(self) -> ServiceError:
        """The connection ended before the answer did."""
        return _counted_as(502, UpstreamFailed(f"The connection to the provider `{self._provider}` broke."))

    def invalid(self, what: str) -> ServiceError:
        """The answer is not what its API promises: "{provider} {what}"."""
        return _counted_as(502, UpstreamFailed(f"The provider `{self._provider}` {what}."))

    def timeout(self) -> ServiceError:
        """The answer, or the next piece of it, did not come in time."""
        return _counted_as(408, UpstreamTimeout(f"The provider `{self._provider}` did not answer in time."))

    def _error(self, status: int, error: Mapping[str, Any], retry_after: float | None) -> ServiceError:
        return _counted_as(status, self._typed(status, error, retry_after))

    def _typed(self, status: int, error: Mapping[str, Any], retry_after: float | None) -> ServiceError:
        told = self._told(error)
        retry_after = retry_delay(error) if retry_after is None else retry_after
        if status in {401, 402, 403} or refuses_key(error):
            return UpstreamFailed(f"The provider `{self._provider}` refused its credentials.")
        if status == 429:
            return RateLimited(told or f"The provider `{self._provider}` limits its rate.", retry_after)
        if status in _OVERLOADED:
            return Overloaded(told or f"The provider `{self._provider}` is overloaded.", retry_after)
        if status == 501:
            return UnsupportedParameter(told or f"The provider `{self._provider}` does not do this.")
        if status == 504:
            return self.timeout()
        if 400 <= status < 500:
            message = told or f"The provider `{self._provider}` rejected the request (HTTP {status})."
            rest = {key: self._clean(error.get(key)) for key in ("param", "code", "type")}
            return UpstreamRejected(message, status, **rest)
        return UpstreamFailed(f"The provider `{self._provider}` failed: {told or f'HTTP {status}'}")

    def _told(self, error: Mapping[str, Any]) -> str:
        return self._clean(error.get("message"))[:_MESSAGE_CHARACTERS]

    def _clean(self, value: object) -> str:
        """`value` without secrets; what is no string says nothing (a `code` is a number at some providers)."""
        text = value if isinstance(value, str) else ""
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text


def _counted_as(status: int, error: ServiceError) -> ServiceError:
    """`error` with the status that routes count it as: what the upstream said, or what having no answer comes to."""
    error.upstream_status = status
    return error


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _error_object(body: object) -> dict[str, Any]:
    """The error in an answer: OpenAI's `{"error": {...}}`, `{"error": "text"}`, FastAPI's `detail`, or the body; one of
    these in a list is Gemini's way."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {}
    error = body.get("error") or body.get("detail") or body
    if isinstance(error, list) and error and isinstance(error[0], dict):
        first = error[0]
        where = [step for step in first.get("loc") or () if isinstance(step, str | int) and step != "body"]
        return {"message": first.get("msg") or "", "param": path_text(where)}
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}


def _hints(error: Mapping[str, Any]) -> list[object]:
    return [error.get("status"), error.get("status_code"), error.get("code"), error.get("type")]


def _status(hint: object) -> int:
    """The HTTP status that a field of an error object tells, 0 if none."""
    if isinstance(hint, str):
        return int(hint) if hint.isdecimal() and len(hint) == 3 else _TYPES.get(hint, 0)
    return hint if isinstance(hint, int) and 400 <= hint < 600 else 0


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms`, or from `Retry-After` as a number or a date."""
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif (value := headers.get("retry-after")) is None:
            return None
        elif value.strip().replace(".", "", 1).isdecimal():
            seconds = float(value)
        else:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return None
    return max(0.0, seconds) if seconds < 1e9 else None
