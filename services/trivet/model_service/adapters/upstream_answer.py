"""The answer of a provider to one call."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

import orjson

from trivet.kernel.errors import ServiceError
from trivet.kernel.http1.awaited import Awaited
from trivet.kernel.http1.coding import Read, decoded
from trivet.kernel.http1.connection import Connection
from trivet.kernel.http1.failures import HttpError
from trivet.model_service.adapters.sse import SseEvent, SseParser
from trivet.model_service.adapters.upstream_errors import UpstreamErrors

_ERROR_BYTES: Final = 64 * 1024
_SETTLE_SECONDS: Final = 0.1
_UNKNOWN: Final = b"application/octet-stream"


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """How long to wait, in seconds, and how much to take, in bytes."""

    connect_seconds: float = 10.0
    read_seconds: float = 300.0
    """For the next bytes of an answer, and for its first."""

    total_seconds: float = 600.0
    max_response_bytes: int = 64 * 1024 * 1024
    max_event_bytes: int = 16 * 1024 * 1024


class UpstreamAnswer:
    """An answer with a good status, to be read once, in one of these ways. `content_type` is without its parameters.

    It is read within its context: leaving that ends the call, and what failed there becomes its typed error.
    """

    __slots__ = ("_connection", "_errors", "_is_coded", "_limits", "content_type", "read")

    read: Read
    """Gives the bytes that are ready together, and nothing at the end."""

    content_type: str

    def __init__(self, connection: Connection, errors: UpstreamErrors, limits: UpstreamLimits) -> None:
        self._connection = connection
        self._errors = errors
        self._limits = limits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.release()
        if isinstance(error, HttpError):
            raise self._errors.from_failure(error) from error

    async def begin(self, besides: Awaited = Awaited.NOTHING) -> None:
        """Waits for the head. Raises the typed error for whatever else comes, or a status other than 2xx, and ends the call then."""
        begun = False
        try:
            await self._connection.head(besides)
            if not 200 <= self._connection.status < 300:
                raise await self._refusal()
            self._take_head()
            begun = True
        except HttpError as error:
            raise self._errors.from_failure(error) from error
        finally:
            if not begun:
                self._connection.release()

    async def _refusal(self) -> ServiceError:
        headers = self._connection.headers
        read = decoded(self._connection.read, headers.get(b"content-encoding", b""))
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        return self._errors.from_response(self._connection.status, told, await _read_error(read) if read else b"")

    def _take_head(self) -> None:
        headers = self._connection.headers
        coding = headers.get(b"content-encoding")
        read = self._connection.read if coding is None else decoded(self._connection.read, coding)
        if read is None:
            raise self._errors.invalid("answered in an encoding that was not asked for")
        self.read, self._is_coded = read, coding is not None
        self.content_type = _media_type(headers.get(b"content-type", _UNKNOWN))

    @property
    def full_content_type(self) -> str:
        """The media type with its parameters."""
        return self._connection.headers.get(b"content-type", _UNKNOWN).decode("latin-1")

    async def json_object(self) -> dict[str, Any]:
        """All of it, as a JSON object."""
        if self.content_type == "text/event-stream":
            raise self._errors.invalid("answered with a stream where none was asked for")
        try:
            parsed = orjson.loads(await self.whole())
        except orjson.JSONDecodeError as error:
            raise self._errors.invalid("sent an answer that is not JSON") from error
        if not isinstance(parsed, dict):
            raise self._errors.invalid("sent an answer that is not a JSON object")
        return parsed

    async def whole(self) -> bytes:
        """All of it."""
        # Most of them are here when their head is.
        here = None if self._is_coded else self._connection.rest()
        if here is not None:
            self._bound(len(here))
            return here
        body: list[bytes] = []
        size = 0
        while data := await self.read():
            body.append(data)
            size += len(data)
            self._bound(size)
        return b"".join(body)

    def _bound(self, size: int) -> None:
        if size > self._limits.max_response_bytes:
            raise self._errors.invalid("sent an answer that is too large")

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Its bytes in the pieces that were ready together."""
        while data := await self.read():
            yield data

    async def events(self) -> AsyncGenerator[list[SseEvent]]:
        """Its server-sent events in batches of what was ready together."""
        parser = SseParser(self._limits.max_event_bytes)
        while data := await self.read():
            if events := parser.feed(data):
                yield events
        if events := parser.close():
            yield events

    def offer(self, taker: Callable[[bytes], bool]) -> None:
        """Have the bytes that come while somebody waits in `read` offered to `taker`, in the turn of the loop in which they come.

        What it takes, by saying so, is not read. It is not asked where the body has to be decoded first.
        """
        if not self._is_coded:
            self._connection.taker = taker

    async def settle(self) -> None:
        """Waits a moment for the end of the body after its last event, so that the connection can serve the next call."""
        if not self._connection.complete:
            await self._connection.settle(_SETTLE_SECONDS)


@lru_cache(maxsize=32)
def _media_type(header: bytes) -> str:
    return header.partition(b";")[0].strip().lower().decode("latin-1")


async def _read_error(read: Read) -> bytes:
    body = bytearray()
    try:
        while len(body) < _ERROR_BYTES and (data := await read()):
            body += data
    except HttpError:
        # The status has come, and says more than that its explanation broke off.
        pass
    return bytes(body)
