"""How gRPC puts its messages, metadata and statuses into HTTP/2, and takes them out again."""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote, unquote

import grpc

from trivet.kernel.http2 import hpack
from trivet.kernel.http2.frames import MESSAGE_HEAD_BYTES
from trivet.kernel.rpc import Metadata

_CODES: Final = {str(code.value[0]): code for code in grpc.StatusCode}
_STATUSES: Final = {code: hpack.field("grpc-status", number.encode()) for number, code in _CODES.items()}

_TRANSPORT: Final = frozenset(
    {
        "te",
        "content-type",
        "grpc-timeout",
        "grpc-encoding",
        "grpc-accept-encoding",
        "accept-encoding",
        "grpc-status",
        "grpc-message",
    }
)
"""What is said by gRPC itself and not by its users."""

_OF_HTTP: Final = {
    "400": grpc.StatusCode.INTERNAL,
    "401": grpc.StatusCode.UNAUTHENTICATED,
    "403": grpc.StatusCode.PERMISSION_DENIED,
    "404": grpc.StatusCode.UNIMPLEMENTED,
    "429": grpc.StatusCode.UNAVAILABLE,
    "502": grpc.StatusCode.UNAVAILABLE,
    "503": grpc.StatusCode.UNAVAILABLE,
    "504": grpc.StatusCode.UNAVAILABLE,
}
"""What it means when something in between answers, as gRPC has it."""

_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MOST_DIGITS: Final = 8

_EITHER_FORM: Final = 47
"""What zlib is told to take both gzip and deflate."""


class Refused(Exception):  # noqa: N818 - says what happened
    """What the peer has sent ends the call with a status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def larger(what: str, length: int, most: int) -> Refused:
    """The refusal of a message, in the words of other implementations: callers tell it by them."""
    return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{what} message larger than max ({length} vs. {most})")


class Splitter:
    """Makes messages of the data of one direction of a stream; `most` is what one may hold."""

    __slots__ = ("_buffer", "_encoding", "_most")

    def __init__(self, most: int, encoding: str = "") -> None:
        self._most = most
        self._encoding = encoding
        self._buffer: bytes | bytearray = b""

    def feed(self, data: bytes, take: Callable[[bytes], None]) -> None:
        """Hand each message that is now complete to `take`.

        Raises:
            Refused: one is too large, or compressed in an unknown way.
        """
        buffer = self._buffer
        if buffer:
            if not isinstance(buffer, bytearray):
                buffer = bytearray(buffer)
            buffer += data
        else:
            buffer = data
        position, end = 0, len(buffer)
        while end - position >= MESSAGE_HEAD_BYTES:
            length = int.from_bytes(buffer[position + 1 : position + MESSAGE_HEAD_BYTES], "big")
            if length > self._most:
                raise larger("Received", length, self._most)
            begin = position + MESSAGE_HEAD_BYTES
            if end - begin < length:
                break
            message = bytes(buffer[begin : begin + length])
            take(self._decompressed(message) if buffer[position] else message)
            position = begin + length
        self._buffer = buffer[position:] if position else buffer

    @property
    def empty(self) -> bool:
        """Whether nothing has come of a message that is not complete."""
        return not self._buffer

    def _decompressed(self, data: bytes) -> bytes:
        if self._encoding not in ("gzip", "deflate"):
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, "Messages are compressed by gzip, by deflate, or not at all.")
        machine = zlib.decompressobj(_EITHER_FORM)
        try:
            message = machine.decompress(data, self._most + 1)
        except zlib.error:
            raise Refused(grpc.StatusCode.INTERNAL, "A message is not compressed as it says.") from None
        if len(message) > self._most:
            raise larger("Received", len(message), self._most)
        return message


def encoded(metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Metadata as a part of a header block.

    Raises:
        ValueError: a name has upper case letters, or a value what no header may hold.
    """
    return b"".join([hpack.field(name, _value(name, value)) for name, value in metadata])


def _value(name: str, value: str | bytes) -> bytes:
    if not name.islower() and name != name.lower():
        raise ValueError(f"metadata keys are lower case: {name}")
    if name.endswith("-bin"):
        return b64encode(value if isinstance(value, bytes) else value.encode()).rstrip(b"=")
    data = value if isinstance(value, bytes) else value.encode("ascii")
    if not data.isascii() or not data.decode("ascii").isprintable():
        raise ValueError(f"the value of {name} can't stand in a header")
    return data


def metadata_of(fields: hpack.Fields) -> Metadata:
    """What of these header fields is the metadata of a call.

    Raises:
        Refused: one of them is not what its name says.
    """
    return tuple(
        [
            (name, _bytes_of(value) if name.endswith("-bin") else value)
            for name, value in fields
            if name not in _TRANSPORT and name[:1] != ":"
        ]
    )


def _bytes_of(value: str) -> bytes:
    try:
        return b64decode(value + "=" * (-len(value) % 4), validate=True)
    except ValueError:
        raise Refused(grpc.StatusCode.INTERNAL, "Binary metadata must be in base64.") from None


def timeout_of(text: str) -> float:
    """The seconds of a `grpc-timeout`.

    Raises:
        Refused: it isn't one.
    """
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not (number.isascii() and number.isdigit()) or len(number) > _MOST_DIGITS:
        raise Refused(grpc.StatusCode.INTERNAL, "`grpc-timeout` is not a time.")
    return int(number) * unit


def timeout_text(seconds: float) -> bytes:
    """`seconds` for the `grpc-timeout`, never less than they are."""
    milliseconds = max(1, int(seconds * 1000) + 1)
    if milliseconds < 10**_MOST_DIGITS:
        return b"%dm" % milliseconds
    return b"%dS" % min(int(seconds) + 1, 10**_MOST_DIGITS - 1)


def trailers(code: grpc.StatusCode, details: str, metadata: Metadata) -> bytes:
    """The header block that ends an answer."""
    status = _STATUSES[code]
    if details:
        status += hpack.field("grpc-message", quote(details, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}").encode())
    return status + encoded(metadata)


def status_of(fields: hpack.Fields) -> tuple[grpc.StatusCode, str]:
    """How a call has ended, by the last fields of its answer, or by the first where something in between answers instead."""
    given = dict(fields)
    number = given.get("grpc-status")
    if number is None:
        http = given.get(":status", "")
        return _OF_HTTP.get(http, grpc.StatusCode.UNKNOWN), f"The answer is none of gRPC: HTTP status {http or 'missing'}."
    return _CODES.get(number, grpc.StatusCode.UNKNOWN), unquote(given.get("grpc-message", ""))
