"""What goes over a connection of HTTP/2, RFC 9113, and of gRPC in it."""

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

HEAD_BYTES: Final = 9
FRAME_BYTES: Final = 16_384
"""The largest payload that may be sent to anybody."""
WINDOW_BYTES: Final = 65_535
"""What may be sent before the peer has said how much it takes."""
LARGEST_WINDOW: Final = 2**31 - 1

MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW: Final = 4
MAX_FRAME: Final = 5
MAX_HEADERS: Final = 6


class Fault(IntEnum):
    """Why a stream or a connection ends."""

    NONE = 0
    PROTOCOL = 1
    INTERNAL = 2
    FLOW_CONTROL = 3
    STREAM_CLOSED = 5
    FRAME_SIZE = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):  # noqa: N818 - says what happened
    """The peer does what nobody may do in HTTP/2; the connection ends."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


_HEAD: Final = struct.Struct(">HBBBI")
_MESSAGE_HEAD: Final = struct.Struct(">HBBBIBI")
_SETTING: Final = struct.Struct(">HI")
_WORD: Final = struct.Struct(">I")
MESSAGE_HEAD_BYTES: Final = 5


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame."""
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def headers(stream: int, block: bytes, flags: int = 0) -> bytes:
    """A header block, in as many frames as it takes."""
    if len(block) <= FRAME_BYTES:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [block[begin : begin + FRAME_BYTES] for begin in range(0, len(block), FRAME_BYTES)]
    first, *rest = parts
    frames = [frame(HEADERS, flags, stream, first)]
    frames += [frame(CONTINUATION, END_HEADERS if part is rest[-1] else 0, stream, part) for part in rest]
    return b"".join(frames)


def message(stream: int, data: bytes, flags: int = 0) -> bytes:
    """A message of gRPC that fits into one frame, in one."""
    length = len(data) + MESSAGE_HEAD_BYTES
    return _MESSAGE_HEAD.pack(length >> 8, length & 0xFF, DATA, flags, stream, 0, len(data)) + data


def message_head(length: int) -> bytes:
    """What stands before a message of gRPC that is not compressed."""
    return b"\0" + _WORD.pack(length)


def word(payload: bytes, position: int = 0) -> int:
    """The number at a position, of four bytes."""
    return int.from_bytes(payload[position : position + 4], "big")


def settings(values: dict[int, int]) -> bytes:
    """What a peer is told at first."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*pair) for pair in values.items()]))


def window_update(stream: int, more: int) -> bytes:
    """Leave for `more` bytes."""
    return frame(WINDOW_UPDATE, 0, stream, _WORD.pack(more))


def reset(stream: int, fault: Fault) -> bytes:
    """The end of a stream that is not over."""
    return frame(RESET, 0, stream, _WORD.pack(fault))


def goaway(last: int, fault: Fault, text: str = "") -> bytes:
    """The end of a connection, of whose streams those up to `last` were taken."""
    return frame(GOAWAY, 0, 0, _WORD.pack(last) + _WORD.pack(fault) + text.encode())
