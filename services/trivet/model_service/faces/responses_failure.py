"""An error that comes when a response has begun: how its stream says so."""

from collections.abc import Iterator
from typing import Any, Final

from trivet.kernel.catalogue import error_body
from trivet.kernel.errors import ServiceError
from trivet.model.v1 import response_event_body_pb2 as body
from trivet.model.v1 import response_pb2 as pb
from trivet.model.v1.response_event_pb2 import ResponseEvent

_CODES: Final = {"RATE_LIMITED": "rate_limit_exceeded", "UPSTREAM_REJECTED": "invalid_prompt"}
"""The codes that clients know; everything else is a `server_error` to them."""


def failure_events(response: pb.Response, error: ServiceError, sequence: Iterator[int]) -> list[ResponseEvent]:
    """Makes `response` a failed one; the events that end its stream."""
    return [error_event(error, sequence), failed_event(response, error, sequence)]


def error_event(error: ServiceError, sequence: Iterator[int]) -> ResponseEvent:
    """The event that tells `error`."""
    told: dict[str, Any] = error_body(error)[1]["error"]
    flat = body.ResponseErrorEvent(
        sequence_number=next(sequence),
        code=told["code"] or told["type"],
        message=told["message"],
        param=told["param"],
        error=body.EventError(**told),
    )
    return ResponseEvent(error=flat)


def failed_event(response: pb.Response, error: ServiceError, sequence: Iterator[int]) -> ResponseEvent:
    """Makes `response` a failed one; its last event."""
    response.status = "failed"
    response.error.CopyFrom(pb.ResponseError(code=_CODES.get(error.reason, "server_error"), message=error.message))
    return ResponseEvent(failed=body.ResponseSnapshotEvent(sequence_number=next(sequence), response=response))
