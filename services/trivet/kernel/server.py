"""One process's server: a gRPC port and an in-process channel over the same services, started and drained as one."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import Any, Protocol, Self, TypeVar

from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from trivet.kernel.auth import KeyRing
from trivet.kernel.call import Judge
from trivet.kernel.chain import CLEANUP_SECONDS, Chain
from trivet.kernel.grpcio.server import GrpcioServer
from trivet.kernel.health import SERVER, Health
from trivet.kernel.http2.serving import Http2Server
from trivet.kernel.inprocess.channel import InProcessChannel
from trivet.kernel.methods import Methods
from trivet.kernel.settings import ServerSettings, is_unix

Servicer = TypeVar("Servicer")

# How long what was said last may take to reach its reader, once a server that stops has nothing more to say.
_FAREWELL_SECONDS = 2.0


class CannotListen(OSError):  # noqa: N818 - says what happened
    """The address cannot be listened on; the message names it."""


class Wire(Protocol):
    """How calls of other processes come: by grpcio over TCP, by our own HTTP/2 over a Unix socket."""

    async def listen(self, address: str) -> str:
        """Listen; the address, with the port that was taken. Raises OSError."""

    def leave(self, seconds: float) -> None:
        """Take no more calls; those that run end within so many seconds."""

    async def close(self, seconds: float) -> None:
        """No handler runs any more: wait so long for what is on its way to its reader, then cut it off."""


class Server:
    """Register services with `add`, then `start`; make it inside a running event loop.

    `channel` calls the registered services without a wire and may be used at once. `keys` let callers in; `judges` are what
    the chain has besides its own interceptors.
    """

    def __init__(self, settings: ServerSettings, keys: KeyRing | None, judges: Iterable[Judge] = ()) -> None:
        self._settings = settings
        self._chain = Chain(settings, keys, judges)
        self._methods = Methods(self._chain)
        self._wire = _wire(self._methods, settings)
        self._address = ""
        self.channel = InProcessChannel(self._methods)
        self.health = Health()
        self.add(health_pb2_grpc.add_HealthServicer_to_server, self.health)

    def add(self, register: Callable[[Servicer, Any], None], servicer: Servicer) -> None:
        """Register `servicer` by the `add_..._to_server` function generated for its service."""
        register(servicer, self._methods)
        # For reflection, which describes what is imported: generated code does not import a file with nothing but a service.
        import_module(register.__module__.removesuffix("_grpc"))

    @property
    def address(self) -> str:
        """The address that is listened on, with the port that was taken; "" before the start."""
        return self._address

    async def start(self) -> None:
        """Listen, and report the server and each service as SERVING.

        Raises:
            CannotListen: the address is in use, or not ours.
        """
        names = [*self._methods.services, reflection.SERVICE_NAME]
        self.add(reflection_pb2_grpc.add_ServerReflectionServicer_to_server, reflection.aio.ReflectionServicer(names))
        self._address = await self._listen(self._settings.grpc)
        for service in (SERVER, *self._methods.services):
            self.health.set(service, serving=True)

    async def stop(self, grace: float | None = None) -> None:
        """Report NOT_SERVING, take no more calls, wait `grace` seconds for the running ones, cancel those left.

        Without `grace` the settings' is used. To hurry a stop that is under way, call it again with a shorter one.
        """
        grace = self._settings.grace_seconds if grace is None else grace
        # First, so that no call is taken after somebody has heard NOT_SERVING.
        self._wire.leave(grace + CLEANUP_SECONDS)
        self.health.drain()
        self.channel.drain()
        # It tells the callers why their calls end, while a wire would only cut their streams.
        await self._chain.drain(grace)
        await self._wire.close(_FAREWELL_SECONDS)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _listen(self, address: str) -> str:
        try:
            return await self._wire.listen(address)
        except OSError as failure:
            raise CannotListen(f"cannot listen on {address}: is it in use, or not an address of this host?") from failure


def _wire(methods: Methods, settings: ServerSettings) -> Wire:
    """What strangers may reach is grpcio's; a Unix socket is between parts of one machine, and the cheaper way."""
    if is_unix(settings.grpc):
        return Http2Server(methods.handler, settings.max_message_bytes)
    return GrpcioServer(methods, settings)


async def run_until_signal(
    stop: Callable[[float], Awaitable[None]], grace: float, announce: Callable[[], None] = lambda: None
) -> None:
    """Wait for SIGTERM or SIGINT, then `await stop(grace)`; a second signal cancels that and awaits `stop(0)`.

    `announce` is called once signals are heard: who reads that the process serves may end it at once.
    """
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.put_nowait, None)
    try:
        announce()
        await received.get()
        stopping = asyncio.ensure_future(stop(grace))
        again = asyncio.ensure_future(received.get())
        await asyncio.wait((stopping, again), return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            await stop(0)
        again.cancel()
        await asyncio.wait((stopping, again))
        if not stopping.cancelled():
            stopping.result()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
