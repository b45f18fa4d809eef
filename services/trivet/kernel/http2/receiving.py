"""The window of one stream: what has come on it, and when its sender may go on."""

from typing import TYPE_CHECKING, Final

import grpc

from trivet.kernel.http2 import frames
from trivet.kernel.http2.frames import MESSAGE_HEAD_BYTES, ConnectionFault, Fault
from trivet.kernel.http2.messages import Refused

if TYPE_CHECKING:
    from trivet.kernel.http2.connection import Connection

STREAM_WINDOW: Final = 1024 * 1024
"""What a peer may send on one stream before it is read."""


class Receiving:
    """What has come on a stream, and when its sender may go on: everything is taken but messages that nobody reads."""

    __slots__ = ("_connection", "_held", "_most", "_number", "_owed")

    def __init__(self, connection: "Connection", number: int, most: int) -> None:
        """`most` is what a message may hold."""
        self._connection = connection
        self._number = number
        self._owed = 0
        self._held = 0
        self._most = most + 2 * STREAM_WINDOW

    def came(self, length: int) -> None:
        """So many bytes have come."""
        self._owed += length
        if self._owed > STREAM_WINDOW:
            raise ConnectionFault(Fault.FLOW_CONTROL, "more than there was room for")

    def complete(self, length: int) -> None:
        """A message of so many bytes waits to be read.

        Raises:
            Refused: it was compressed, and with it there are more than anybody could have sent as they are.
        """
        self._held += length + MESSAGE_HEAD_BYTES
        if self._held > self._most:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "More is sent than is read.")

    def read(self, length: int) -> None:
        """It was."""
        self._held -= length + MESSAGE_HEAD_BYTES
        self.settle()

    def settle(self) -> None:
        """Let the sender go on, if it is worth a frame."""
        more = self._owed - self._held
        if more >= STREAM_WINDOW // 2 and not self._connection.lost:
            self._owed = self._held
            self._connection.write(frames.window_update(self._number, more))
