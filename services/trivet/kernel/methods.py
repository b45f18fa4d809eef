"""The registered methods of a process, which both its gRPC server and its in-process channel serve."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from trivet.kernel import errors
from trivet.kernel.chain import Chain
from trivet.kernel.rpc import Context, Handler


class Methods(grpc.GenericRpcHandler):
    """Looks methods up by name; each is wrapped in the chain once, when it is registered.

    A method that does not exist is served too, by a refusal that goes through the chain: it is logged, needs a key and
    is a typed error, like any other.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._handlers: dict[str, Handler] = {}
        self.services: list[str] = []

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Register the methods of a service; generated code calls this.

        Raises:
            ValueError: the service is registered already.
        """
        if service_name in self.services:
            raise ValueError(f"{service_name} is registered twice")
        self.services.append(service_name)
        for name, handler in method_handlers.items():
            method = f"/{service_name}/{name}"
            self._handlers[method] = self._chain.wrap(method, handler)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code says here, for older servers, what it has said to the method above."""

    def find(self, method: str) -> Handler:
        """The wrapped handler of `/package.Service/Method`."""
        return self._handlers.get(method) or self._unknown(method)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """The wrapped handler, as grpcio asks for it."""
        return self.find(handler_call_details.method)

    def _unknown(self, method: str) -> Handler:
        # A streaming shape reads nothing before it refuses: a caller of any shape gets its answer.
        return self._chain.wrap(method, grpc.stream_stream_rpc_method_handler(_refuse))


async def _refuse(_: Any, context: Context) -> None:
    raise errors.restore("ROUTE_NOT_FOUND", "The server does not offer this operation.")
