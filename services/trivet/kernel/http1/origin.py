"""One server: how it is reached, and the connections to it that wait for the next call."""

import asyncio
import ipaddress
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from aiohappyeyeballs import start_connection

from trivet.kernel.http1.connection import Connection, Patience
from trivet.kernel.http1.failures import LateError, UnreachableError

# The servers that close idle connections first do so after 5 seconds (uvicorn, Node.js, llama.cpp). Giving them up before
# keeps a request from being sent into one that is just being closed.
_IDLE_SECONDS: Final = 4.0

# Some servers close after a stream and do not say so (llama.cpp), as soon as they come to it: a call right after it would meet that.
_AT_ONCE_SECONDS: Final = 1.0
"""A connection that the server closes before it was free for this long, it closed because of the answer."""

_WARNED_SECONDS: Final = 60.0
"""How long no connection is kept after that."""

_NEXT_ADDRESS_SECONDS: Final = 0.25
"""After this long the next address of a name is tried beside the first, as RFC 8305 (happy eyeballs) has it."""

_ADDRESSES_SECONDS: Final = 10.0
"""How long the addresses of a name are good for."""

_NO_URL: Final = re.compile(r"[\x00-\x20\x7f]")
"""What `urlsplit` would silently take away."""

_IN_PATHS: Final = "/%:@!$&'()*+,;=~"

_PORTS: Final = {"http": 80, "https": 443}


Find = Callable[[], Awaitable[Sequence[str]]]
"""Gives the addresses of a server, the best first."""


class Origin:
    """A server by its URL.

    `url` is that without its path, `path` the path without a slash at its end, `host_header` what the server is called, and
    `authorization` what shows the user and password that the URL has.

    As many calls may run as are wanted: each has a connection of its own, the one that was free last or a new one.
    """

    def __init__(self, url: str, patience: Patience, *, find: Find | None = None, trusting: ssl.SSLContext | None = None) -> None:
        """`find` is asked for the addresses before each connection, in the place of the resolver; what it raises goes to
        whoever wants the connection. `trusting` says whose certificates are good, in the place of the system's.

        Raises UnreachableError if there is no such server.
        """
        self._patience = patience
        self._find = find
        self._all: set[Connection] = set()
        self._free: dict[Connection, None] = {}
        self._opening: set[asyncio.Timeout] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._keeps_from = 0.0
        self._closed = False
        self._addresses: asyncio.Task[list[Any]] | None = None
        self._addresses_until = 0.0
        self._trusting = trusting
        try:
            if _NO_URL.search(url):
                raise ValueError("a space or a control character")
            parts = urlsplit(url)
            self._host, self._port = _host(parts.hostname), parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError) as error:
            raise UnreachableError("not the URL of a server") from error
        self._tls = parts.scheme == "https"
        # A certificate's names have no dot at their end.
        self._tls_name = self._host.rstrip(".") if self._tls else None
        self.path = quote(parts.path.rstrip("/"), safe=_IN_PATHS)
        user = unquote(parts.netloc.rpartition("@")[0])
        self.authorization = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.host_header = host if self._port == _PORTS[parts.scheme] else f"{host}:{self._port}"
        self.url = f"{parts.scheme}://{self.host_header}"

    def free(self, *, surely: bool = False) -> Connection | None:
        """A connection that is open and has waited so shortly that it should still be so at the other end.

        `surely` looks whether its end has come though nobody has read it yet, for requests that cannot be sent again.
        """
        while self._free:
            connection, _ = self._free.popitem()
            if connection.is_fresh(_IDLE_SECONDS, surely=surely):
                return connection
            self._was_ended(connection)
            connection.close()
        return None

    async def open(self, seconds: float) -> Connection:
        """A new connection, within `seconds`. Raises LateError or UnreachableError."""
        if self._closed:
            raise UnreachableError("the client is closed")
        loop = asyncio.get_running_loop()
        scope = asyncio.timeout(seconds)
        self._opening.add(scope)
        try:
            async with scope:
                if self._tls and self._trusting is None:
                    self._trusting = await asyncio.to_thread(_trusting_as_the_system)
                addresses = await self._found(loop) if self._find is None else _infos(await self._find(), self._port)
                connected = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop)
                _, connection = await loop.create_connection(
                    self._made, sock=connected, ssl=self._trusting, server_hostname=self._tls_name
                )
        except (OSError, RuntimeError) as error:
            # uvloop raises RuntimeError where asyncio raises OSError.
            if scope.expired() and not self._closed:
                raise LateError("no connection in time") from error
            raise UnreachableError("no connection") from error
        finally:
            self._opening.discard(scope)
        if self._closed or not connection.is_open:
            connection.close()
            raise UnreachableError("the connection was closed at once")
        self._all.add(connection)
        return connection

    def close(self) -> None:
        """Closes all connections, those of running calls and those that are being opened too."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for scope in self._opening:
            if not scope.expired():
                scope.reschedule(0)
        for connection in tuple(self._all):
            connection.close()

    # ---- connections -----------------------------------------------------------------------------------------------

    def _made(self) -> Connection:
        return Connection(asyncio.get_running_loop(), self._patience, self._on_free, self._on_lost)

    def _on_free(self, connection: Connection) -> None:
        if self._closed or connection.free_since < self._keeps_from:
            connection.close()
            return
        self._free[connection] = None
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._close_idle)

    def _on_lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._free:
            del self._free[connection]
            self._was_ended(connection)

    def _was_ended(self, connection: Connection) -> None:
        """Draws the conclusion from a free connection that is one no more."""
        if connection.idle_seconds < _AT_ONCE_SECONDS:
            self._keeps_from = connection.free_since + _WARNED_SECONDS

    def _close_idle(self) -> None:
        """Closes what nobody has used for long. They lie in the order in which they became free."""
        self._sweep = None
        loop = asyncio.get_running_loop()
        while self._free:
            oldest = next(iter(self._free))
            until = oldest.free_since + _IDLE_SECONDS
            if until > loop.time():
                self._sweep = loop.call_at(until, self._close_idle)
                return
            del self._free[oldest]
            oldest.close()

    # ---- addresses -------------------------------------------------------------------------------------------------

    async def _found(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        """The addresses. Whoever asks while they are looked up waits for the same answer."""
        known = self._addresses
        if known is None or (known.done() and (loop.time() >= self._addresses_until or known.exception() is not None)):
            known = self._addresses = loop.create_task(self._look_up(loop))
        # The others wait on though one of them leaves.
        return await asyncio.shield(known)

    async def _look_up(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        # A name has no IPv6 addresses for a machine that has none itself; what is an address already is taken as it is.
        flags = 0 if _is_address(self._host) else socket.AI_ADDRCONFIG
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=flags)
        self._addresses_until = loop.time() + _ADDRESSES_SECONDS
        return found


@cache
def _trusting_as_the_system() -> ssl.SSLContext:
    """Reads files, so it is made in a thread."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _infos(addresses: Sequence[str], port: int) -> list[Any]:
    """Addresses as `getaddrinfo` gives them."""
    families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
    return [
        (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
        for family, address in zip(families, addresses, strict=True)
    ]


def _host(name: str | None) -> str:
    if not name:
        raise ValueError("no host")
    return name if name.isascii() else name.encode("idna").decode()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
