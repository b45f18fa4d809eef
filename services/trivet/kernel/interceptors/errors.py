"""Turns every exception into an error that may leave the process."""

import asyncio
import logging

import grpc

from trivet.kernel import catalogue, errors
from trivet.kernel.call import Call
from trivet.kernel.errors import ServiceError

_log = logging.getLogger("trivet.errors")


def error_of(failure: BaseException, call: Call, *, expired: bool) -> ServiceError | None:
    """What to tell the caller of a call that `failure` has ended: a ServiceError as it is, INTERNAL of anything unknown.

    None where `failure` passes unchanged, because the handler has set a status by `context.abort` or because nobody can be told
    anything. Then the code is noted for the log. `expired` says that the call was cancelled by its deadline and by nobody else.
    """
    if isinstance(failure, grpc.aio.AbortError):
        return None
    if isinstance(failure, asyncio.CancelledError):
        return errors.RequestTimeout() if expired else _error_of_cancellation(call)
    if isinstance(failure, Exception) and not isinstance(failure, grpc.aio.InternalError):
        return _error_of_exception(failure, call)
    # The transport refused to send because the caller is gone, or the process ends.
    call.code = grpc.StatusCode.UNKNOWN
    return None


def _error_of_cancellation(call: Call) -> ServiceError | None:
    """What to tell the caller about a CancelledError; None if it is the caller who cancelled."""
    task = asyncio.current_task()
    if call.evicted and task is not None:
        task.uncancel()
        return errors.Overloaded("The server is shutting down; try again.")
    if task is not None and task.cancelling():
        call.code = grpc.StatusCode.DEADLINE_EXCEEDED if call.time_remaining() == 0 else grpc.StatusCode.CANCELLED
        return None
    # Nobody cancelled this call: a task inside it was cancelled and awaited. grpcio would leave the caller waiting.
    _log.exception("%s: a cancelled task was awaited (request_id=%s)", call.method, call.request_id)
    return errors.InternalError()


def _error_of_exception(failure: Exception, call: Call) -> ServiceError:
    if isinstance(failure, ServiceError):
        return failure
    if isinstance(failure, grpc.aio.AioRpcError):
        return catalogue.from_rpc_error(failure)
    if isinstance(failure, ExceptionGroup) and (inner := _typed(failure)):
        return inner
    if isinstance(failure, NotImplementedError) and call.context.code() is grpc.StatusCode.UNIMPLEMENTED:
        return errors.restore("ROUTE_NOT_FOUND", "The service does not offer this operation.")
    _log.error("%s failed (request_id=%s)", call.method, call.request_id, exc_info=failure)
    return errors.InternalError()


def _typed(group: ExceptionGroup[Exception]) -> ServiceError | None:
    """The first ServiceError of a TaskGroup that failed with nothing else."""
    typed, rest = group.split(ServiceError)
    if typed is None or rest is not None:
        return None
    first = typed.exceptions[0]
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first
