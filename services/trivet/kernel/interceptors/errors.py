"""Turns every exception into a status that may leave the process."""

import asyncio
import logging

import grpc

from trivet.kernel import catalogue, errors
from trivet.kernel.call import Call, Proceed
from trivet.kernel.errors import ServiceError
from trivet.kernel.rpc import abort

_log = logging.getLogger("trivet.errors")


async def render_errors(call: Call, proceed: Proceed) -> None:
    """Run the call; a ServiceError leaves as its status, anything unknown as INTERNAL with a fixed text.

    Cancellation by the caller, and a status that the handler has set by `context.abort`, pass through unchanged.
    """
    try:
        await proceed()
        return
    except grpc.aio.AbortError:
        raise
    except grpc.aio.InternalError:
        # The transport refused to send: the caller is gone, nobody can be told.
        raise
    except asyncio.CancelledError:
        error = _error_of_cancellation(call)
        if error is None:
            raise
    except Exception as failure:  # noqa: BLE001 - a boundary: whatever a handler raises must leave as a status
        error = _error_of(failure, call)
    await abort(call.context, catalogue.to_status(error))


def _error_of_cancellation(call: Call) -> ServiceError | None:
    """What to tell the caller about a CancelledError; None if it is the caller who cancelled."""
    task = asyncio.current_task()
    if call.evicted and task is not None:
        task.uncancel()
        return errors.Overloaded("The server is shutting down; try again.")
    if task is not None and task.cancelling():
        return None
    # Nobody cancelled this call: a task inside it was cancelled and awaited. grpcio would leave the caller waiting.
    _log.exception("%s: a cancelled task was awaited (request_id=%s)", call.method, call.request_id)
    return errors.InternalError()


def _error_of(failure: Exception, call: Call) -> ServiceError:
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
