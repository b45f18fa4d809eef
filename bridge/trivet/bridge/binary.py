"""Writes answers that are no JSON: what an RPC gives as `google.api.HttpBody`, whole or as a stream."""

import grpc
from google.api.httpbody_pb2 import HttpBody

from trivet.bridge import headers
from trivet.bridge.request import Request
from trivet.bridge.sse import StreamCall
from trivet.bridge.written import Streamed
from trivet.kernel.errors import UpstreamFailed
from trivet.kernel.inprocess.calls import initial_pairs

_ANY_TYPE = "application/octet-stream"


def content_type(body: HttpBody) -> str:
    """What a body is, for all that is known."""
    return body.content_type or _ANY_TYPE


async def respond(request: Request, call: StreamCall) -> Streamed:
    """Write a stream to its end; its first message tells the content type.

    It is awaited before headers are sent, so that an early failure is raised and keeps its HTTP status. After a later one the
    connection is cut: the client must not take what it has for the whole.
    """
    first = await call.read()
    if not isinstance(first, HttpBody):
        raise UpstreamFailed("The provider answered with nothing.")
    told = headers.told(await initial_pairs(call))
    about = {"Content-Type": content_type(first), "X-Accel-Buffering": "no"}
    response = Streamed(request, {**told, **request.marks, **about})
    try:
        await _write_all(response, first, call)
    except grpc.aio.AioRpcError:
        # Why, the line of the RPC in the access log tells; nothing can be said to the client any more.
        if request.transport is not None:
            request.transport.close()
    return response


async def _write_all(response: Streamed, first: HttpBody, call: StreamCall) -> None:
    message = first
    while isinstance(message, HttpBody):
        if (message.data or message is first) and response.write(message.data):
            await response.drained()
        message = await call.read()
    if response.end(b""):
        await response.drained()
