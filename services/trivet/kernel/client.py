"""Channels to the services of other processes."""

from collections.abc import Iterable

import grpc

from trivet.kernel.grpcio.channel import open_channel
from trivet.kernel.http2.channel import Http2Channel
from trivet.kernel.settings import ServerSettings, is_unix

_DEFAULT_MESSAGE_BYTES: int = ServerSettings().max_message_bytes


def connect(address: str, *, idempotent: Iterable[str] = (), max_message_bytes: int = _DEFAULT_MESSAGE_BYTES) -> grpc.aio.Channel:
    """A channel to `HOST:PORT`, `dns:///NAME:PORT` or `unix:PATH`; it connects when first used, and again when lost.

    All addresses behind a name are used in turn. Methods in `idempotent` (`package.Service/Method`) are tried up to
    three times while the server is unavailable. What the current RPC hands on is described at `kernel.call.outgoing`.

    A Unix socket is spoken to by our own HTTP/2, all else by grpcio, as `kernel.server` listens.
    """
    if is_unix(address):
        return Http2Channel(address, idempotent, max_message_bytes)
    return open_channel(address, idempotent, max_message_bytes)
