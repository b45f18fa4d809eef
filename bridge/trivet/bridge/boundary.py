"""The outermost middleware: every failure becomes the contract's error body, and every request one line of the log."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import grpc
import orjson
from aiohttp import web

from trivet.bridge.handlers import PRINCIPAL, REQUEST_ID
from trivet.bridge.interruption import interruption
from trivet.kernel import access_lines
from trivet.kernel.access_lines import quoted
from trivet.kernel.call import REQUEST_ID as REQUEST_ID_HEADER
from trivet.kernel.catalogue import error_body, from_rpc_error
from trivet.kernel.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    RouteNotFound,
    ServiceError,
)
from trivet.kernel.interceptors.request_id import accepted_request_id

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger("trivet.bridge")


@web.middleware
async def boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, render what goes wrong, and log the outcome."""
    _name(request)
    begun = time.perf_counter()
    status = 499
    try:
        response = await _answered(request, handler)
        status = response.status
    finally:
        # Also when the handler is cancelled, which is how the server tells that the client has left.
        _log_access(request, status, time.perf_counter() - begun)
    return response


async def name_request(request: web.Request, response: web.StreamResponse) -> None:
    """A signal: every response, a stream too, carries the id of its request."""
    # aiohttp refuses some requests by itself before it asks the middleware: those are named here.
    response.headers[REQUEST_ID_HEADER] = _name(request)


def _name(request: web.Request) -> str:
    """The id of the request, given to it at the first call."""
    if REQUEST_ID not in request:
        request[REQUEST_ID] = accepted_request_id(request.headers.get(REQUEST_ID_HEADER))
    return request[REQUEST_ID]


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ServiceError as error:
        return error_response(error)
    except grpc.aio.AioRpcError as error:
        return error_response(from_rpc_error(error))
    except web.HTTPException as error:
        return _http_failure(request, error)
    except asyncio.CancelledError:
        if (interrupted := interruption(request)) is None:
            raise
        return error_response(interrupted)
    except Exception:  # noqa: BLE001 - the last boundary before the client: what it is, is not for strangers
        _log.exception("request failed request_id=%s path=%s", request[REQUEST_ID], quoted(request.path))
        return error_response(InternalError())


def error_response(error: ServiceError) -> web.Response:
    """The HTTP response of an error."""
    status, body = error_body(error)
    response = web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return response


def _http_failure(request: web.Request, failure: web.HTTPException) -> web.StreamResponse:
    """aiohttp's own refusals in the contract's shape; anything else that it raises is a response in its own right."""
    match failure:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(failure.allowed_methods))
            response = error_response(MethodNotAllowed(request.method, allowed))
            response.headers["Allow"] = allowed
            return response
        case web.HTTPNotFound():
            return error_response(RouteNotFound(request.path))
        case web.HTTPRequestEntityTooLarge():
            return error_response(PayloadTooLarge("The body is larger than this gateway takes."))
        case web.HTTPClientError():
            return error_response(InvalidRequest(f"The request cannot be read: {failure.reason}."))
        case _:
            raise failure


def _log_access(request: web.Request, status: int, seconds: float) -> None:
    access_lines.write(
        logging.INFO,
        "http=%s path=%s status=%d ms=%.1f request_id=%s principal=%s peer=%s",
        request.method,
        quoted(request.path),
        status,
        seconds * 1000,
        request[REQUEST_ID],
        quoted(request.get(PRINCIPAL, "-")),
        request.remote,
    )
