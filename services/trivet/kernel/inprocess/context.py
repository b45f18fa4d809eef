"""The context that a servicer's method gets from an in-process call."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import grpc

from trivet.kernel.call import Call
from trivet.kernel.inprocess.exchange import Exchange
from trivet.kernel.rpc import Metadata

PEER = "in-process"


class InProcessContext(grpc.aio.ServicerContext[Any, Any]):
    """Everything of `grpc.aio.ServicerContext` that means something without a wire."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._code: grpc.StatusCode | None = None
        self._details = ""

    @property
    def parent(self) -> Call | None:
        """The call that made this one, None where it was made outside of any."""
        return self._exchange.parent

    async def write(self, message: Any) -> None:
        await self._exchange.send(message)

    async def read(self) -> Any:
        if self._exchange.requests is None:
            raise grpc.aio.UsageError("The request is not a stream.")
        return await self._exchange.requests.read()

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[Any] = ()) -> NoReturn:
        if code is grpc.StatusCode.OK:
            raise grpc.aio.UsageError("OK is no status to abort with.")
        self._code, self._details = code, details
        self._exchange.trailing = tuple(trailing_metadata) or self._exchange.trailing
        self._exchange.end(code, details)
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata or ())
        raise AssertionError("unreachable: abort raises")

    def finish(self) -> None:
        """End the call with the status that the handler has set, OK if it has set none."""
        self._exchange.end(self._code or grpc.StatusCode.OK, self._details)

    async def send_initial_metadata(self, initial_metadata: Iterable[Any]) -> None:
        if self._exchange.initial is not None:
            raise grpc.aio.UsageError("The initial metadata has been sent.")
        self._exchange.initial = tuple(initial_metadata)
        self._exchange.changed.notify()

    def set_trailing_metadata(self, trailing_metadata: Iterable[Any]) -> None:
        self._exchange.trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Any:
        return self._exchange.trailing

    def invocation_metadata(self) -> Any:
        return self._exchange.metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> Any:
        return self._code

    def set_details(self, details: str) -> None:
        self._details = details

    def details(self) -> str:
        return self._details

    def time_remaining(self) -> Any:
        return self._exchange.time_remaining()

    def cancelled(self) -> bool:
        return self._exchange.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._exchange.code is not None

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        self._exchange.on_handler_end(lambda: callback(self))

    def peer(self) -> str:
        return PEER

    def peer_identities(self) -> Iterable[bytes] | None:
        return None

    def peer_identity_key(self) -> str | None:
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing is compressed where nothing is sent."""

    def disable_next_message_compression(self) -> None:
        """Nothing is compressed where nothing is sent."""


def metadata_of(pairs: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
    """`pairs` as both ends see them.

    Raises:
        ValueError: a key is not lower case, which would fail over the wire.
    """
    metadata = tuple((name, value) for name, value in pairs or ())
    for name, _ in metadata:
        if name != name.lower():
            raise ValueError(f"metadata keys are lower case: {name}")
    return metadata
