"""One process's server: a gRPC port and an in-process channel over the same services, started and drained as one."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import Any, Self, TypeVar

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from trivet.kernel.auth import KeyRing
from trivet.kernel.call import Judge
from trivet.kernel.chain import CLEANUP_SECONDS, Chain
from trivet.kernel.health import SERVER, Health
from trivet.kernel.inprocess.channel import InProcessChannel
from trivet.kernel.methods import Methods
from trivet.kernel.rpc import METADATA_BYTES
from trivet.kernel.settings import ServerSettings, split_host_port

Servicer = TypeVar("Servicer")

# How long what was said last may take to reach its reader, once a server that stops has nothing more to say.
_FAREWELL_SECONDS = 2.0


class CannotListen(OSError):  # noqa: N818 - says what happened
    """The address cannot be listened on; the message names it."""


class Server:
    """Register services with `add`, then `start`; make it inside a running event loop.

    `channel` calls the registered services without a wire and may be used at once. `keys` let callers in; `judges` are what
    the chain has besides its own interceptors.
    """

    def __init__(self, settings: ServerSettings, keys: KeyRing | None, judges: Iterable[Judge] = ()) -> None:
        self._settings = settings
        self._chain = Chain(settings, keys, judges)
        self._methods = Methods(self._chain)
        self._grpc = grpc.aio.server(handlers=(self._methods,), options=_options(settings))
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
        self._address = self._bind(self._settings.grpc)
        await self._grpc.start()
        for service in (SERVER, *self._methods.services):
            self.health.set(service, serving=True)

    async def stop(self, grace: float | None = None) -> None:
        """Report NOT_SERVING, take no more calls, wait `grace` seconds for the running ones, cancel those left.

        Without `grace` the settings' is used. To hurry a stop that is under way, call it again with a shorter one.
        """
        grace = self._settings.grace_seconds if grace is None else grace
        # First, so that no call is taken after somebody has heard NOT_SERVING.
        self._methods.drain()
        self.health.drain()
        self.channel.drain()
        closing = asyncio.ensure_future(self._grpc.stop(grace + CLEANUP_SECONDS))
        try:
            # The chain cancels first and tells the callers why; grpcio would only cut their streams.
            await self._chain.drain(grace)
            # No handler runs any more. grpcio may still hold a stream whose handler was cancelled while it wrote, which
            # nothing will ever end, and last bytes that are on their way: those get a moment.
            await self._grpc.stop(_FAREWELL_SECONDS)
        finally:
            closing.cancel()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _bind(self, address: str) -> str:
        try:
            port = self._grpc.add_insecure_port(address)
        except RuntimeError as failure:
            raise CannotListen(f"cannot listen on {address}: is it in use, or not an address of this host?") from failure
        if address.startswith("unix:"):
            return address
        host, _ = split_host_port(address)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _options(settings: ServerSettings) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        # Unless it is meant, a second process would silently share the port.
        ("grpc.so_reuseport", int(settings.shares_ports)),
        # Our clients ping idle connections every 30 s, which grpcio would take for abuse.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


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
