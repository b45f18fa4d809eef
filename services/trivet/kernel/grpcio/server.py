"""grpcio's server, as `kernel.server` wants its wires."""

import asyncio
from typing import Any

import grpc

from trivet.kernel.methods import Methods
from trivet.kernel.rpc import METADATA_BYTES
from trivet.kernel.settings import ServerSettings, split_host_port


class GrpcioServer:
    """Listens on TCP, and serves `methods`; make it inside a running event loop."""

    def __init__(self, methods: Methods, settings: ServerSettings) -> None:
        self._methods = methods
        self._server = grpc.aio.server(handlers=(methods,), options=_options(settings))
        self._leaving: list[asyncio.Future[None]] = []

    async def listen(self, address: str) -> str:
        """Listen on `HOST:PORT`."""
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as failure:
            raise OSError(str(failure)) from failure
        await self._server.start()
        host, _ = split_host_port(address)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def leave(self, seconds: float) -> None:
        """Refuse calls at once, and have the port closed; what still runs after so long is cut."""
        self._methods.drain()
        self._leaving.append(asyncio.ensure_future(self._server.stop(seconds)))

    async def close(self, seconds: float) -> None:
        """End what is left.

        grpcio may still hold a stream whose handler was cancelled while it wrote, which nothing will ever end.
        """
        try:
            await self._server.stop(seconds)
        finally:
            for leaving in self._leaving:
                leaving.cancel()


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
