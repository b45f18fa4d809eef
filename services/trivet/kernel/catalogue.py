"""How each error reason looks on the wire: one table, read by the gRPC side and by the HTTP side."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from trivet.kernel import errors
from trivet.kernel.errors import ServiceError

DOMAIN = "trivet"
DETAILS_KEY = "grpc-status-details-bin"

# A peer refuses trailing metadata above 8 KiB, and the message stands in it twice, percent-encoded once (up to three
# bytes for one): what callers or upstreams wrote is cut, or a typed error would arrive as a transport error.
_MESSAGE_BYTES = 1500
_FIELD_BYTES = 200

_Code = grpc.StatusCode


@dataclass(frozen=True, slots=True)
class Row:
    """The wire forms of one reason; an empty `openai_code` is rendered as null."""

    grpc_code: grpc.StatusCode
    http_status: int
    openai_type: str
    openai_code: str
    retryable: bool = False


TABLE: dict[str, Row] = {
    "INVALID_REQUEST": Row(_Code.INVALID_ARGUMENT, 400, "invalid_request_error", ""),
    "UNSUPPORTED_PARAMETER": Row(_Code.INVALID_ARGUMENT, 400, "invalid_request_error", "unsupported_parameter"),
    "ADDRESS_REFUSED": Row(_Code.INVALID_ARGUMENT, 400, "invalid_request_error", "address_refused"),
    "TOOL_NOT_FOUND": Row(_Code.NOT_FOUND, 400, "invalid_request_error", "tool_not_found"),
    "MISSING_KEY": Row(_Code.UNAUTHENTICATED, 401, "authentication_error", "missing_api_key"),
    "INVALID_KEY": Row(_Code.UNAUTHENTICATED, 401, "authentication_error", "invalid_api_key"),
    "PERMISSION_DENIED": Row(_Code.PERMISSION_DENIED, 403, "permission_error", "permission_denied"),
    "MODEL_NOT_FOUND": Row(_Code.NOT_FOUND, 404, "not_found_error", "model_not_found"),
    "MCP_SERVER_NOT_FOUND": Row(_Code.NOT_FOUND, 404, "not_found_error", "mcp_server_not_found"),
    "RESPONSE_NOT_FOUND": Row(_Code.NOT_FOUND, 404, "invalid_request_error", "response_not_found"),
    "PREVIOUS_RESPONSE_NOT_FOUND": Row(_Code.NOT_FOUND, 404, "invalid_request_error", "previous_response_not_found"),
    "CONVERSATION_NOT_FOUND": Row(_Code.NOT_FOUND, 404, "invalid_request_error", "conversation_not_found"),
    "ITEM_NOT_FOUND": Row(_Code.NOT_FOUND, 404, "invalid_request_error", "item_not_found"),
    "ROUTE_NOT_FOUND": Row(_Code.UNIMPLEMENTED, 404, "not_found_error", "route_not_found"),
    "METHOD_NOT_ALLOWED": Row(_Code.UNIMPLEMENTED, 405, "invalid_request_error", "method_not_allowed"),
    "REQUEST_TIMEOUT": Row(_Code.DEADLINE_EXCEEDED, 408, "timeout_error", "request_timeout", retryable=True),
    "PAYLOAD_TOO_LARGE": Row(_Code.RESOURCE_EXHAUSTED, 413, "invalid_request_error", "payload_too_large"),
    "UNSUPPORTED_MEDIA_TYPE": Row(_Code.INVALID_ARGUMENT, 415, "invalid_request_error", "unsupported_media_type"),
    "RATE_LIMITED": Row(_Code.RESOURCE_EXHAUSTED, 429, "rate_limit_error", "rate_limit_exceeded", retryable=True),
    "CLIENT_CLOSED_REQUEST": Row(_Code.CANCELLED, 499, "invalid_request_error", "client_closed_request"),
    "INTERNAL": Row(_Code.INTERNAL, 500, "server_error", "internal_error"),
    "UPSTREAM_REJECTED": Row(_Code.INVALID_ARGUMENT, 400, "invalid_request_error", ""),
    "UPSTREAM_FAILED": Row(_Code.UNAVAILABLE, 502, "server_error", "upstream_failed", retryable=True),
    "MCP_SERVER_UNAVAILABLE": Row(_Code.UNAVAILABLE, 502, "server_error", "mcp_server_unavailable", retryable=True),
    "OVERLOADED": Row(_Code.UNAVAILABLE, 503, "server_error", "overloaded", retryable=True),
    "UPSTREAM_TIMEOUT": Row(_Code.DEADLINE_EXCEEDED, 504, "server_error", "upstream_timeout", retryable=True),
}


def http_status(error: ServiceError) -> int:
    """The HTTP status of `error`; a rejection by an upstream keeps the upstream's own."""
    return int(error.metadata.get("http_status", TABLE[error.reason].http_status))


def error_body(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """The HTTP status of `error` and its body in the OpenAI shape."""
    row = TABLE[error.reason]
    body = {
        "message": error.message,
        "type": error.metadata.get("type") or row.openai_type,
        "param": error.param or None,
        "code": error.metadata.get("code") or row.openai_code or None,
    }
    return http_status(error), {"error": body}


def to_status(error: ServiceError) -> status_pb2.Status:
    """The `google.rpc.Status` of `error`: its ErrorInfo, the field at fault, and when to try again."""
    metadata = {key: _clipped(value, _FIELD_BYTES) for key, value in error.metadata.items()}
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))]
    if error.param:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_clipped(error.param, _FIELD_BYTES), description=_clipped(error.message, _FIELD_BYTES)
        )
        details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    message = _clipped(error.message, _MESSAGE_BYTES)
    return status_pb2.Status(code=TABLE[error.reason].grpc_code.value[0], message=message, details=details)


class RpcFailure(Protocol):
    """What is read from a `grpc.aio.AioRpcError`, or from anything shaped like one."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def from_rpc_error(failure: RpcFailure) -> ServiceError:
    """The error behind a failed RPC.

    A status with our ErrorInfo was sent by a service of ours and comes back as it was raised. Without one, the client
    library or a server's transport made the status up: that says how the call went, not what is wrong with the
    request, so it is mapped by `_inferred` and its text, which may name addresses, is dropped.
    """
    status = _sent_status(failure)
    return _inferred(failure) if status is None else (_restored(status) or _inferred(failure))


def _clipped(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8; what UTF-8 cannot hold (a lone surrogate) becomes "?"."""
    encoded = text.encode("utf-8", "replace")
    return encoded.decode() if len(encoded) <= limit else encoded[: limit - 3].decode("utf-8", "ignore") + "…"


def _packed(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _sent_status(failure: RpcFailure) -> status_pb2.Status | None:
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return None


def _restored(status: status_pb2.Status) -> ServiceError | None:
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for known in (info, request, retry):
            detail.Unpack(known)
    if info.domain != DOMAIN or info.reason not in errors.BY_REASON:
        return None
    return errors.restore(
        info.reason,
        status.message,
        request.field_violations[0].field if request.field_violations else "",
        metadata=info.metadata,
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
    )


# Said by a server about the request, though without an ErrorInfo (the standard health servicer, a newer service whose
# reason we do not know): the text is for the caller.
_ABOUT_THE_REQUEST: dict[grpc.StatusCode, str] = {
    _Code.INVALID_ARGUMENT: "INVALID_REQUEST",
    _Code.OUT_OF_RANGE: "INVALID_REQUEST",
    _Code.FAILED_PRECONDITION: "INVALID_REQUEST",
    _Code.NOT_FOUND: "ROUTE_NOT_FOUND",
    _Code.UNAUTHENTICATED: "INVALID_KEY",
    _Code.PERMISSION_DENIED: "PERMISSION_DENIED",
}


def _inferred(failure: RpcFailure) -> ServiceError:
    code, details = failure.code(), failure.details() or ""
    if code in _ABOUT_THE_REQUEST:
        return errors.restore(_ABOUT_THE_REQUEST[code], details or "The request was refused.")
    if code is _Code.DEADLINE_EXCEEDED:
        return errors.RequestTimeout()
    if code is _Code.UNIMPLEMENTED:
        return errors.restore("ROUTE_NOT_FOUND", "The service does not offer this operation.")
    if code is _Code.RESOURCE_EXHAUSTED and "larger than max" in details:
        return errors.PayloadTooLarge("The message exceeds the configured size.")
    if code in (_Code.UNAVAILABLE, _Code.RESOURCE_EXHAUSTED):
        return errors.Overloaded("A part of the gateway cannot be reached now; try again.")
    if code is _Code.CANCELLED:
        # Our own cancelling raises CancelledError, so this comes from a server that is going away.
        return errors.Overloaded("A part of the gateway ended the call; try again.")
    return errors.InternalError()
