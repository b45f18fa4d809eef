"""Serves a servicer for a test, over loopback or in process, by the server that production runs."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias, TypeVar

import grpc

from trivet.kernel.auth import KeyRing
from trivet.kernel.call import Judge
from trivet.kernel.client import connect
from trivet.kernel.server import Server
from trivet.kernel.settings import AuthSettings, ServerSettings

Transport: TypeAlias = Literal["loopback", "in-process"]
TRANSPORTS: tuple[Transport, ...] = ("loopback", "in-process")

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

    Without `auth` no key is needed. `judges` look at each request. What still runs at the end is cancelled.
    """
    settings = settings or ServerSettings(grpc="127.0.0.1:0")
    keys = None if auth is None else KeyRing(auth)
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
