"""Channels to the services of other processes."""

from collections.abc import Iterable

from trivet.kernel.http2.channel import WireChannel
from trivet.kernel.settings import ServerSettings

_DEFAULT_MESSAGE_BYTES: int = ServerSettings().max_message_bytes


def connect(address: str, *, idempotent: Iterable[str] = (), max_message_bytes: int = _DEFAULT_MESSAGE_BYTES) -> WireChannel:
    """A channel to `HOST:PORT`, `dns:///NAME:PORT` or `unix:PATH`; it connects when first used, and again when lost.

    All addresses behind a name are used in turn. Methods in `idempotent` (`package.Service/Method`) are tried up to
    three times while the server is unavailable. What the current RPC hands on is described at `kernel.call.outgoing`.
    """
    return WireChannel(address, idempotent, max_message_bytes)
