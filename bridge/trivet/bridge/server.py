"""The composition root of the bridge."""

import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import grpc
from aiohttp import web

from trivet.bridge.app import create_app
from trivet.bridge.settings import BridgeSettings
from trivet.kernel.auth import KeyRing
from trivet.kernel.settings import ServerSettings, split_host_port


class Bridge:
    """A bridge that listens; `address` is where, `HOST:PORT` with the port that was taken."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner

    @property
    def address(self) -> str:
        host, port = self._runner.addresses[0][:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@asynccontextmanager
async def open_bridge(
    settings: BridgeSettings, server: ServerSettings, channels: Mapping[str, grpc.aio.Channel], keys: KeyRing
) -> AsyncIterator[Bridge]:
    """Listen on `server.http` until the context ends; then running requests have the grace to finish.

    `channels` has a channel for each service's full name, which stay the caller's to close. Raises OSError when the
    address can't be listened on.
    """
    app = create_app(channels, keys, settings)
    # handler_cancellation: a client that leaves cancels its handler, and so the RPC and all that hangs on it.
    # auto_decompress off: aiohttp would unpack a stranger's body before anybody has looked at the key.
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        auto_decompress=False,
        access_log=None,
        shutdown_timeout=server.grace_seconds,
        keepalive_timeout=75,
    )
    await runner.setup()
    try:
        for listening in _listening(server.http, settings.stalled_seconds):
            await web.SockSite(runner, listening, backlog=1024).start()
        yield Bridge(runner)
    finally:
        await runner.cleanup()


def _listening(address: str, stalled_seconds: float) -> Iterator[socket.socket]:
    """A socket for each of the addresses behind the host: `localhost` may have two."""
    host, port = split_host_port(address)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, name in dict.fromkeys(found):
        listening = socket.create_server(name, family=family)
        if sys.platform == "linux":
            # Each connection inherits it. Only the kernel can tell a client that reads slowly from one that does not read.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(stalled_seconds * 1000))
        yield listening
