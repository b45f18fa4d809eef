"""The registered methods of a process, which both its gRPC server and its in-process channel serve."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from trivet.kernel import errors
from trivet.kernel.call import is_infrastructure
from trivet.kernel.chain import Chain
from trivet.kernel.rpc import Behaviour, Context, Handler, behaviour_of


class Methods(grpc.GenericRpcHandler):
    """Looks methods up by name; each is wrapped in the chain once, when it is registered.

    A method that does not exist is served too, by a refusal that goes through the chain: it is logged, needs a key and
    is a typed error, like any other.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._handlers: dict[str, Handler] = {}
        self.behaviours: dict[str, Behaviour] = {}
        """What is registered, for who needs nothing else of a handler: it is asked for at each call in process."""
        self._draining = False
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
            self._handlers[method] = wrapped = self._chain.wrap(method, handler)
            self.behaviours[method] = behaviour_of(wrapped)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code says here, for older servers, what it has said to the method above."""

    def behaviour(self, method: str) -> Behaviour:
        """The wrapped behaviour of `/package.Service/Method`."""
        return self.behaviours.get(method) or behaviour_of(self._unknown(method))

    def handler(self, method: str) -> Handler:
        """The wrapped handler of `/package.Service/Method`."""
        return self._handlers.get(method) or self._unknown(method)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """The wrapped handler, as grpcio asks for it."""
        method = handler_call_details.method
        if self._draining and not is_infrastructure(method):
            return self._refusal(method, _refuse_draining)
        return self.handler(method)

    def drain(self) -> None:
        """Refuse what grpcio asks for from now on: it takes it a moment to close its port."""
        self._draining = True

    def _unknown(self, method: str) -> Handler:
        return self._refusal(method, _refuse_unknown)

    def _refusal(self, method: str, refuse: Behaviour) -> Handler:
        # A streaming shape reads nothing before it refuses: a caller of any shape gets its answer.
        return self._chain.wrap(method, grpc.stream_stream_rpc_method_handler(refuse))


async def _refuse_unknown(_: Any, context: Context) -> None:
    raise errors.restore("ROUTE_NOT_FOUND", "The server does not offer this operation.")


async def _refuse_draining(_: Any, context: Context) -> None:
    raise errors.Overloaded("The server is shutting down; try again.")
