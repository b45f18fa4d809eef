"""The outermost layer: every failure becomes the contract's error body, and every request one line of the log."""

import asyncio
import logging
import time

import grpc
import orjson
from aiohttp import web

from trivet.bridge.cors import Cors
from trivet.bridge.dispatch import Dispatch
from trivet.bridge.interruption import interruption
from trivet.bridge.request import Reply, Request
from trivet.kernel import access_lines
from trivet.kernel.access_lines import quoted
from trivet.kernel.catalogue import error_body, from_rpc_error
from trivet.kernel.errors import InternalError, InvalidRequest, MethodNotAllowed, PayloadTooLarge, ServiceError

_log = logging.getLogger("trivet.bridge")


class Boundary:
    """Answers requests, whatever goes wrong."""

    def __init__(self, dispatch: Dispatch, cors: Cors) -> None:
        self._dispatch = dispatch
        self._cors = cors

    async def serve(self, request: Request) -> Reply:
        """Answer a request, render what goes wrong, and log the outcome."""
        begun = time.perf_counter()
        response: Reply | None = None
        try:
            if self._cors.is_on:
                self._cors.mark(request)
                response = self._cors.preflight(request)
            if response is None:
                response = await self._dispatch.find(request)(request)
        except (Exception, asyncio.CancelledError) as failure:
            response = _told(request, failure)
            if response is None:
                raise
        finally:
            # Also when the handler is cancelled, which is how the server tells that the client has left.
            access_lines.write(
                logging.INFO,
                "http=%s path=%s status=%d ms=%.1f request_id=%s principal=%s peer=%s",
                request.head.method,
                quoted(request.head.url.path),
                499 if response is None else response.status,
                (time.perf_counter() - begun) * 1000,
                request.id,
                quoted(request.principal),
                request.remote,
            )
        if not response.prepared:
            response.headers.update(request.marks)
        return response


def _told(request: Request, failure: Exception | asyncio.CancelledError) -> web.StreamResponse | None:
    """What the sender of a request is told whose handler raised `failure`; None if it has left."""
    match failure:
        case ServiceError():
            return error_response(failure)
        case grpc.aio.AioRpcError():
            return error_response(from_rpc_error(failure))
        case web.HTTPException():
            return _http_failure(failure)
        case asyncio.CancelledError():
            interrupted = interruption(request)
            return None if interrupted is None else error_response(interrupted)
        case _:
            # What it is, is not for strangers.
            _log.error("request failed request_id=%s path=%s", request.id, quoted(request.path), exc_info=failure)
            return error_response(InternalError())


def error_response(error: ServiceError) -> web.Response:
    """The HTTP response of an error."""
    status, body = error_body(error)
    response = web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = error.metadata["allowed"]
    return response


def _http_failure(failure: web.HTTPException) -> web.StreamResponse:
    """aiohttp's own refusals in the contract's shape; anything else that it raises is a response in its own right."""
    match failure:
        case web.HTTPRequestEntityTooLarge():
            return error_response(PayloadTooLarge("The body is larger than this gateway takes."))
        case web.HTTPExpectationFailed():
            response = error_response(InvalidRequest("Invalid 'Expect': only `100-continue` can be expected."))
            response.set_status(failure.status)
            return response
        case web.HTTPClientError():
            return error_response(InvalidRequest(f"The request cannot be read: {failure.reason}."))
        case _:
            raise failure
