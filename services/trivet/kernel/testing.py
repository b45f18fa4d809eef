"""Serves a servicer for a test, in process or over either wire, by the server that production runs."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias, TypeVar

import grpc

from trivet.kernel.auth import KeyRing
from trivet.kernel.call import Judge
from trivet.kernel.client import connect
from trivet.kernel.server import Server
from trivet.kernel.settings import AuthSettings, ServerSettings

Transport: TypeAlias = Literal["in-process", "loopback", "unix"]
TRANSPORTS: tuple[Transport, ...] = ("in-process", "loopback", "unix")

Servicer = TypeVar("Servicer")


@asynccontextmanager
async def serving(
    register: Callable[[Servicer, Any], None],
    servicer: Servicer,
    *,
    transport: Transport = "in-process",
    settings: ServerSettings | None = None,
    auth: AuthSettings | None = None,
    judges: Iterable[Judge] = (),
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to `servicer`, registered by its generated `add_..._to_server`.

    Where it listens is told by `transport`, whatever `settings` say. Without `auth` no key is needed. `judges` look at each
    request. What still runs at the end is cancelled.
    """
    keys = None if auth is None else KeyRing(auth)
    with TemporaryDirectory() as folder:
        address = f"unix:{folder}/trivet.sock" if transport == "unix" else "127.0.0.1:0"
        settings = (settings or ServerSettings()).model_copy(update={"grpc": address})
        server = Server(settings, keys, judges)
        server.add(register, servicer)
        await server.start()
        try:
            if transport == "in-process":
                yield server.channel
            else:
                async with connect(server.address, max_message_bytes=settings.max_message_bytes) as channel:
                    yield channel
        finally:
            await server.stop(0)
