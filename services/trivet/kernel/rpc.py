"""The seam with grpcio: names for its types, and the places where its runtime and its type stubs differ."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, cast

import grpc
from google.rpc import status_pb2

from trivet.kernel.catalogue import DETAILS_KEY

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler  # generic in the stubs only
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
Behaviour: TypeAlias = Callable[[Any, Context], Awaitable[Any]]

METADATA_BYTES = 64 * 1024
"""What the metadata of a call may hold. By itself grpcio begins to refuse, at random, above 8 KiB, and HTTP headers hold more."""

_FACTORIES = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def behaviour_of(handler: Handler) -> Callable[[Any, Context], Any]:
    """The servicer's method behind `handler`, whichever of the four shapes it has."""
    shapes = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    return next(cast("Callable[[Any, Context], Any]", found) for found in shapes if found is not None)


def with_behaviour(handler: Handler, behaviour: Behaviour, deserializer: Callable[[bytes], Any] | None) -> Handler:
    """A handler of the same shape as `handler` that runs `behaviour`."""
    # The stubs describe synchronous servicers only.
    factory = cast("Callable[..., Handler]", _FACTORIES[handler.request_streaming, handler.response_streaming])
    return factory(behaviour, request_deserializer=deserializer, response_serializer=handler.response_serializer)


def status_code(number: int) -> grpc.StatusCode:
    """The code of `number`; UNKNOWN if gRPC has none such."""
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)


def own_metadata(context: Context) -> Metadata:
    """The trailing metadata that the servicer has set so far."""
    return cast("Metadata", tuple(context.trailing_metadata() or ()))


async def abort(context: Context, status: status_pb2.Status) -> NoReturn:
    """End the RPC with `status`, keeping the trailing metadata that is already set.

    Raises:
        grpc.aio.AbortError: always; it must reach grpcio unchanged.
    """
    trailing = (*own_metadata(context), (DETAILS_KEY, status.SerializeToString()))
    await context.abort(status_code(status.code), status.message, trailing)
    raise AssertionError("unreachable: abort raises")
