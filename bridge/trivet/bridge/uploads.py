"""Reads a request that is a form with a file, and hands it on as it arrives."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, Protocol, TypeVar

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from google.protobuf.message import Message

from trivet.bridge.contract import Form, Operation
from trivet.bridge.request import Request
from trivet.bridge.settings import BridgeSettings
from trivet.kernel.errors import (
    ClientClosedRequest,
    InvalidRequest,
    PayloadTooLarge,
    RequestTimeout,
    ServiceError,
    UnsupportedMediaType,
)

T = TypeVar("T")

PIECE_BYTES: Final = 128 * 1024
"""The most of a file that one message brings."""

READ_AHEAD_BYTES: Final = 1024 * 1024
"""So much of a file is read, and held, before a call may begin without knowing what comes after the file."""

_FIELD_BYTES: Final = 100
"""What an empty field counts towards the limit of all fields."""


class UploadCall(Protocol):
    """What is used of a running RPC whose request is a stream."""

    async def write(self, request: Any) -> None: ...
    async def done_writing(self) -> None: ...
    def cancel(self) -> bool: ...


def holding() -> "tempfile.SpooledTemporaryFile[bytes]":
    """A place for what is read ahead of a file: in memory, beyond that in a temporary file without a name."""
    return tempfile.SpooledTemporaryFile(READ_AHEAD_BYTES + PIECE_BYTES)


class Upload:
    """The form of one request.

    Clients send fields before the file or after it. A form that ends within `READ_AHEAD_BYTES` of its file is read to its end. In a
    larger one, if the required fields came before the file, the call begins and the file is streamed; fields that come after it
    end the request. If they did not, the file goes to disk until they have come. `held` is where it is kept: see `holding`.
    """

    def __init__(self, form: Form, request: Request, settings: BridgeSettings, held: IO[bytes]) -> None:
        self._form = form
        self._request = request
        self._settings = settings
        self._pairs: list[tuple[str, str]] = []
        self._fields_bytes = 0
        self._file: BodyPartReader | None = None
        self._size = 0
        self._held = held
        self._complete = False
        self.failure: ServiceError | None = None
        """What was wrong with the form after the call had begun, which was cancelled for it."""

    async def fields(self) -> dict[str, Any]:
        """The fields of the form, as JSON values, once they are known.

        Raises UnsupportedMediaType, InvalidRequest, PayloadTooLarge or RequestTimeout.
        """
        if self._request.content_type != "multipart/form-data":
            raise UnsupportedMediaType("The body must be a form: send it with `Content-Type: multipart/form-data`.")
        if self._request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("The body must not be compressed: send it without `Content-Encoding`.")
        if (self._request.content_length or 0) > self._settings.max_upload_bytes + self._settings.max_body_bytes:
            raise self._too_large()
        with _readable():
            self._parts = await self._request.multipart()
        await self._read_on()
        if self._file is None:
            raise InvalidRequest(f"Missing required parameter: '{self._form.file}'.", self._form.file)
        return self._form.fields.decode(self._pairs, keep_unknown=True)

    def first(self, operation: Operation, given: dict[str, Any]) -> Message:
        """The message that begins the call: the parameters, and what is known of the file. Raises InvalidRequest."""
        message: Message = operation.request_codec.decode(given, strict=True)
        file = getattr(getattr(message, self._form.parameters), self._form.file)
        assert self._file is not None
        file.SetInParent()
        name, kind = self._file.filename or "", self._file.headers.get("Content-Type", "")
        if not (_is_text(name) and _is_text(kind)):
            told = "its name and its type must be valid Unicode"
            raise InvalidRequest(f"Invalid '{self._form.file}': {told}.", self._form.file)
        file.filename, file.content_type = name, kind
        if self._complete:
            file.size = self._size
        return message

    async def feed(self, call: UploadCall, operation: Operation, first: Message) -> None:
        """Write the whole request to a call, until that has ended; a fault in the form cancels it, and is the `failure`."""
        try:
            await call.write(first)
            async for data in self._content():
                await call.write(self._form.piece(data))
            if late := await self._late_fields():
                await call.write(operation.request_codec.decode(late, strict=True))
            await call.done_writing()
        except asyncio.InvalidStateError:
            return  # The call has ended, and tells itself how.
        except ServiceError as failure:
            self.failure = failure
            call.cancel()

    async def _read_on(self) -> None:
        """Read parts until the call can begin, or the form is over."""
        while (part := await self._next_part()) is not None:
            if part.name != self._form.file:
                await self._take_field(part)
                continue
            if self._file is not None:
                raise self._twice(part.name)
            self._file = part
            async for data in self._pieces(part):
                await self._hold(data)
                if self._size > READ_AHEAD_BYTES and self._are_required_there():
                    return
        self._complete = True

    async def _content(self) -> AsyncIterator[bytes]:
        self._held.seek(0)
        while data := await self._from_disk(self._held.read, PIECE_BYTES):
            yield data
        if self._complete or self._file is None:
            return
        async for data in self._pieces(self._file):
            yield data

    async def _late_fields(self) -> dict[str, Any]:
        """The fields that came after the file, when the call had begun."""
        if self._complete:
            return {}
        early = self._form.fields.decode(self._pairs, keep_unknown=True)
        self._pairs.clear()
        while (part := await self._next_part()) is not None:
            if part.name == self._form.file:
                raise self._twice(part.name)
            await self._take_field(part)
        late = self._form.fields.decode(self._pairs, keep_unknown=True)
        for name in late:
            if name == "stream":
                told = f"in a form with a large '{self._form.file}', it must come before that"
                raise InvalidRequest(f"Invalid '{name}': {told}.", name)
            if name in early and not isinstance(early[name], list):
                raise self._twice(name)
        return late

    async def _next_part(self) -> BodyPartReader | None:
        with _readable():
            part = await self._in_time(self._parts.next())
        if part is None:
            return None
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise InvalidRequest("The form cannot be read: a part has no name, or is a form itself.")
        if not _is_text(part.name):
            raise InvalidRequest("The form cannot be read: the name of a part is not valid Unicode.")
        return part

    async def _take_field(self, part: BodyPartReader) -> None:
        name, value = part.name or "", bytearray()
        self._fields_bytes += len(name) + _FIELD_BYTES
        while data := await self._chunk(part):
            value += data
            self._fields_bytes += len(data)
            if self._fields_bytes > self._settings.max_body_bytes:
                raise PayloadTooLarge("The fields of the form are larger than this gateway takes.", name)
        try:
            self._pairs.append((name, value.decode()))
        except UnicodeDecodeError:
            raise InvalidRequest(f"Invalid '{name:.80}': expected valid Unicode.", name) from None

    async def _pieces(self, file: BodyPartReader) -> AsyncIterator[bytes]:
        while data := await self._chunk(file):
            self._size += len(data)
            if self._size > self._settings.max_upload_bytes:
                raise self._too_large()
            yield data

    async def _chunk(self, part: BodyPartReader) -> bytes:
        with _readable():
            return await self._in_time(part.read_chunk(PIECE_BYTES))

    async def _in_time(self, reading: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                return await reading
        except TimeoutError:
            raise RequestTimeout("The body did not arrive in time.") from None

    async def _hold(self, data: bytes) -> None:
        await self._from_disk(self._held.write, data)

    async def _from_disk(self, act: Any, argument: Any) -> Any:
        # What still fits into memory is not worth a thread.
        return act(argument) if self._size <= READ_AHEAD_BYTES else await asyncio.to_thread(act, argument)

    def _are_required_there(self) -> bool:
        return {name for name, _ in self._pairs}.issuperset(self._form.required)

    def _twice(self, name: str) -> InvalidRequest:
        return InvalidRequest(f"Invalid '{name:.80}': it is given twice.", name)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge("The file is larger than this gateway takes.", self._form.file)


def _is_text(head: str) -> bool:
    """Whether this part of a head is Unicode: the parser keeps other bytes as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in head)


@contextmanager
def _readable() -> Iterator[None]:
    """Turns what goes wrong while a form is read into what its sender is told."""
    try:
        yield
    except (web.RequestPayloadError, ConnectionError) as error:
        raise ClientClosedRequest from error
    except (ValueError, HttpProcessingError, AssertionError, RuntimeError) as error:
        # What exactly is in the way depends on the parser's version.
        raise InvalidRequest("The form cannot be read: it is no proper `multipart/form-data`.") from error
