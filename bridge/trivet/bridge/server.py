"""The composition root of the bridge."""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from trivet.bridge.app import App
from trivet.bridge.health import Told
from trivet.bridge.request import request_maker
from trivet.bridge.settings import BridgeSettings
from trivet.kernel.auth import KeyRing
from trivet.kernel.settings import ServerSettings, split_host_port

_FAREWELL_SECONDS = 5.0
"""How long a request that was interrupted may take to tell its client."""

_FIRST_WORD_SECONDS = 0.5
"""For services that stop at the same time to end their calls themselves: a cancelled call looks to them as if its client had left."""


class _StrangersAreNoErrors(logging.Filter):
    """What is no HTTP is the sender's fault and answered with 400: a line for debugging, not an error with a stack."""

    def filter(self, record: logging.LogRecord) -> bool:
        failure = record.exc_info[1] if record.exc_info else None
        if not isinstance(failure, HttpProcessingError):
            return True
        record.levelno, record.levelname, record.exc_info = logging.DEBUG, "DEBUG", None
        return _SERVER_LOG.isEnabledFor(logging.DEBUG)


_SERVER_LOG = logging.getLogger("trivet.bridge.http")
_SERVER_LOG.addFilter(_StrangersAreNoErrors())

# The longest header: a little more than all that `x-trivet-` headers may hold together.
_HEADER_BYTES = 20 * 1024


class _Runner(web.ServerRunner):
    """Serves an application, and lets it know when it is to end."""

    def __init__(self, app: App, server: web.Server, shutdown_timeout: float) -> None:
        super().__init__(server, shutdown_timeout=shutdown_timeout)
        self._app = app

    async def shutdown(self) -> None:
        """Have connections that would stay end by themselves."""
        self._app.sockets.drain()


class Bridge:
    """A bridge that listens; `address` is where, `HOST:PORT` with the port that was taken."""

    def __init__(self, app: App, runner: web.BaseRunner) -> None:
        self._app = app
        self._runner = runner

    def apply(self, settings: BridgeSettings, passed: Collection[str]) -> None:
        """See `App.apply`."""
        self._app.apply(settings, passed)

    @property
    def address(self) -> str:
        host, port = self._runner.addresses[0][:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@asynccontextmanager
async def open_bridge(
    settings: BridgeSettings,
    server: ServerSettings,
    channels: Mapping[str, grpc.aio.Channel],
    keys: KeyRing,
    *,
    told: Told | None = None,
    passed: Collection[str] = (),
) -> AsyncIterator[Bridge]:
    """Listen on `server.http` until the context ends; then running requests have the grace to finish, and end with an error
    after it.

    `channels` has a channel for each service's full name, which stay the caller's to close. `told` is what readiness tells of
    the configuration, `passed` are the names of headers, in lower case, that travel on besides those of the contract. Raises
    OSError when the address can't be listened on.
    """
    app = App(channels, keys, settings, told=told, passed=passed)
    # handler_cancellation: a client that leaves cancels its handler, and so the RPC and all that hangs on it.
    # auto_decompress off: aiohttp would unpack a stranger's body before anybody has looked at the key.
    http = web.Server(
        cast("Any", app.serve),  # for it gets the requests that the next line makes
        request_factory=request_maker(settings.max_body_bytes),
        handler_cancellation=True,
        auto_decompress=False,
        access_log=None,
        logger=_SERVER_LOG,
        max_field_size=_HEADER_BYTES,
        keepalive_timeout=75,
    )
    runner = _Runner(app, http, server.grace_seconds + _FAREWELL_SECONDS)
    await runner.setup()
    try:
        for listening in _listening(server, settings.stalled_seconds):
            await web.SockSite(runner, listening, backlog=1024).start()
        yield Bridge(app, runner)
    finally:
        # Ahead of aiohttp, which would cut the connections of what still runs then.
        late = server.grace_seconds + _FIRST_WORD_SECONDS
        interrupting = asyncio.get_running_loop().call_later(late, app.gateway.interrupt)
        await runner.cleanup()
        interrupting.cancel()


def _listening(server: ServerSettings, stalled_seconds: float) -> Iterator[socket.socket]:
    """A socket for each of the addresses behind the host: `localhost` may have two."""
    host, port = split_host_port(server.http)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, name in dict.fromkeys(found):
        listening = socket.create_server(name, family=family, reuse_port=server.shares_ports)
        if sys.platform == "linux":
            # Each connection inherits it. Only the kernel can tell a client that reads slowly from one that does not read.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(stalled_seconds * 1000))
        yield listening
