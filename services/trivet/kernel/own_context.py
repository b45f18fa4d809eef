"""What the contexts of our own transports have in common: those of calls in process, and over our own HTTP/2."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import grpc


class OwnContext(grpc.aio.ServicerContext[Any, Any]):
    """The half of `grpc.aio.ServicerContext` that is the same however a call came; without the identities of TLS, or compression."""

    tells_leaving_from_ending = True
    """Whether the request of a caller that leaves is never taken for one that has ended."""

    # As long as a call has none of its own.
    _code: grpc.StatusCode | None = None
    _details = ""
    _callbacks: tuple[Callable[[Any], Any], ...] = ()

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata or ())
        raise AssertionError("unreachable: abort raises")

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> Any:
        return self._code

    def set_details(self, details: str) -> None:
        self._details = details

    def details(self) -> str:
        return self._details

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        self._callbacks = (*self._callbacks, callback)

    def peer_identities(self) -> Iterable[bytes] | None:
        return None

    def peer_identity_key(self) -> str | None:
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing is compressed: who wants to be spared bytes is not on this machine."""

    def disable_next_message_compression(self) -> None:
        """Nothing is compressed."""
