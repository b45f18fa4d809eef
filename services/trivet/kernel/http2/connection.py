"""One connection of HTTP/2, of whichever end: frames, windows, and the streams that are open on it."""

import asyncio
from typing import Final, cast

from trivet.kernel.http2 import frames
from trivet.kernel.http2.frames import (
    DATA,
    FRAME_BYTES,
    HEAD_BYTES,
    LARGEST_WINDOW,
    MESSAGE_HEAD_BYTES,
    WINDOW_BYTES,
    ConnectionFault,
    Fault,
)
from trivet.kernel.http2.hpack import Decoder, Fields, MalformedBlock
from trivet.kernel.http2.receiving import STREAM_WINDOW
from trivet.kernel.rpc import METADATA_BYTES
from trivet.kernel.wakeup import Wakeup

_CONNECTION_WINDOW: Final = 1024 * STREAM_WINDOW
"""On all of them: as good as no limit, for that of each stream is one."""

_FAREWELL_SECONDS: Final = 5.0
_MOST_BLOCK_BYTES: Final = 2 * METADATA_BYTES
_FAULTS: Final = {fault.value: fault for fault in Fault}
_MOST_UNSENT_BYTES: Final = 65_536
_MOST_REPLIES: Final = 1000
"""How many replies to pings and settings may wait for a peer that does not read them."""


class Stream:
    """One call on a connection, as that sees it."""

    __slots__ = ("id", "room", "window", "writing")

    def __init__(self, number: int) -> None:
        self.id = number
        self.window = 0
        """How many bytes may still be sent on it."""
        self.room: Wakeup | None = None
        """Notified when there may be more; made when it is first waited for."""
        self.writing = False
        """Whether a message is under way that did not fit."""

    def headers(self, fields: Fields, *, ended: bool) -> None:
        """Fields have come; `ended`: and nothing will any more."""
        raise NotImplementedError

    def data(self, data: bytes, *, ended: bool) -> None:
        """Data have come."""
        raise NotImplementedError

    def broken(self, fault: Fault, text: str) -> None:
        """The peer has ended it, or the connection is lost."""
        raise NotImplementedError


class Connection(asyncio.Protocol):
    """What both ends have in common; `loop` is that of everything here."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.streams: dict[int, Stream] = {}
        self.lost = False
        self.heard = False
        """Whether anything has come since this was last set to False."""
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._decoder = Decoder()
        self._rest = b""
        self._block: tuple[int, int, bytearray] | None = None
        self._window = WINDOW_BYTES
        self._peer_window = WINDOW_BYTES
        self._consumed = 0
        self._writable: Wakeup | None = None
        self._replies = 0
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    # What the two ends do differently.

    def opened(self, stream: int, fields: Fields, *, ended: bool) -> None:
        """Headers have come of a stream that is not open: it begins, or it is over and they were on their way."""
        raise NotImplementedError

    def leaving(self, last: int) -> None:
        """The peer takes no more streams than those up to `last`."""

    def ended(self) -> None:
        """A stream has ended."""

    def limited(self, most: int) -> None:
        """The peer takes so many streams at a time."""

    # Writing.

    def write(self, data: bytes) -> None:
        """Have something written with all else that is said in this turn of the loop: a write costs more than what is in it."""
        if not self._unsent:
            self.loop.call_soon(self._flush)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > _MOST_UNSENT_BYTES:
            self._flush()

    def close(self) -> None:
        """End the connection when all is written."""
        self._flush()
        self.transport.close()

    def _flush(self) -> None:
        unsent = self._unsent
        if unsent and not self.transport.is_closing():
            self.transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))
        unsent.clear()
        self._unsent_bytes = 0

    def begin(self, opening: bytes, settings: dict[int, int]) -> None:
        """Say what is said first."""
        settings = {**settings, frames.INITIAL_WINDOW: STREAM_WINDOW, frames.MAX_HEADERS: METADATA_BYTES}
        more = frames.window_update(0, _CONNECTION_WINDOW - WINDOW_BYTES)
        self.write(opening + frames.settings(settings) + more)

    def add(self, stream: Stream) -> None:
        """Take in a stream that begins."""
        stream.window = self._peer_window
        self.streams[stream.id] = stream

    def remove(self, stream: Stream) -> None:
        """Forget a stream that is over."""
        if self.streams.pop(stream.id, None) is not None:
            _notify(stream)
            self.ended()

    def fits(self, stream: Stream, length: int) -> bool:
        """Whether a message of so many bytes can go out now, in one frame."""
        length += MESSAGE_HEAD_BYTES
        if length > FRAME_BYTES or length > stream.window or length > self._window:
            return False
        return self._writable is None and not stream.writing

    def message(self, stream: Stream, data: bytes, flags: int = 0) -> bytes:
        """The frame of a message that fits."""
        taken = len(data) + MESSAGE_HEAD_BYTES
        stream.window -= taken
        self._window -= taken
        return frames.message(stream.id, data, flags)

    async def send(self, stream: Stream, data: bytes, flags: int = 0) -> None:
        """Send a message as the peer has room for it; return before that if the stream ends."""
        while stream.writing:
            await self._room(stream).wait()
        stream.writing = True
        try:
            await self._send(stream, memoryview(frames.message_head(len(data)) + data), flags)
        finally:
            stream.writing = False
            _notify(stream)

    async def _send(self, stream: Stream, rest: memoryview, flags: int) -> None:
        while rest and self.streams.get(stream.id) is stream:
            if self._writable is not None:
                await self._writable.wait()
            elif (room := min(len(rest), FRAME_BYTES, stream.window, self._window)) <= 0:
                await self._room(stream).wait()
            else:
                part, rest = rest[:room], rest[room:]
                stream.window -= room
                self._window -= room
                self.write(frames.frame(DATA, 0 if rest else flags, stream.id, bytes(part)))

    def _room(self, stream: Stream) -> Wakeup:
        if stream.room is None:
            stream.room = Wakeup(self.loop)
        return stream.room

    def pause_writing(self) -> None:
        self._writable = self._writable or Wakeup(self.loop)

    def resume_writing(self) -> None:
        waiting, self._writable, self._replies = self._writable, None, 0
        if waiting is not None:
            waiting.notify()

    def abandon(self, fault: Fault, text: str) -> None:
        """End the connection, and tell the peer why."""
        if self.lost:
            return
        if self._writable is None:
            self.write(frames.goaway(0, fault, text))
            self.close()
        # Who does not read would not read that either.
        self.loop.call_later(0 if self._writable else _FAREWELL_SECONDS, self.transport.abort)
        self.connection_lost(None)

    # Reading.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        self.resume_writing()
        for stream in list(self.streams.values()):
            self._end(stream, Fault.NONE, "The connection was lost.")

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self.lost:
            return
        try:
            self._read(self._rest + data if self._rest else data)
        except ConnectionFault as failure:
            self.abandon(failure.fault, str(failure))
        except MalformedBlock as failure:
            self.abandon(Fault.COMPRESSION, str(failure))

    def _read(self, buffer: bytes) -> None:
        position, end = 0, len(buffer)
        while end - position >= HEAD_BYTES and not self.lost:
            length = buffer[position] << 16 | buffer[position + 1] << 8 | buffer[position + 2]
            if length > FRAME_BYTES:
                raise ConnectionFault(Fault.FRAME_SIZE, "a frame is too large")
            begin = position + HEAD_BYTES
            if end - begin < length:
                break
            kind, flags = buffer[position + 3], buffer[position + 4]
            stream = int.from_bytes(buffer[position + 5 : begin], "big") & LARGEST_WINDOW
            position = begin + length
            payload = buffer[begin:position]
            if self._block is not None and kind != frames.CONTINUATION:
                raise ConnectionFault(Fault.PROTOCOL, "a header block is interrupted")
            if kind == DATA:
                self._data(flags, stream, payload)
            elif kind == frames.HEADERS:
                self._headers(flags, stream, payload)
            else:
                self._other(kind, flags, stream, payload)
        self._rest = buffer[position:]

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        self._consumed += len(payload)
        if self._consumed >= _CONNECTION_WINDOW // 2:
            self.write(frames.window_update(0, self._consumed))
            self._consumed = 0
        stream = self.streams.get(number)
        if flags & frames.PADDED:
            length, payload = len(payload), _unpadded(payload)
            if stream is not None:
                self.write(frames.window_update(number, length - len(payload)))
        if stream is not None:
            stream.data(payload, ended=bool(flags & frames.END_STREAM))

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.PRIORITIZED:
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._complete(number, flags, payload)
        else:
            self._block = (number, flags, bytearray(payload))

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != number:
            raise ConnectionFault(Fault.PROTOCOL, "a continuation of nothing")
        _, first_flags, block = self._block
        block += payload
        # An empty one is of no use but to keep us busy.
        if len(block) > _MOST_BLOCK_BYTES or not payload:
            raise ConnectionFault(Fault.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & frames.END_HEADERS:
            self._block = None
            self._complete(number, first_flags, bytes(block))

    def _complete(self, number: int, flags: int, block: bytes) -> None:
        fields = self._decoder.decode(block, METADATA_BYTES)
        ended = bool(flags & frames.END_STREAM)
        stream = self.streams.get(number)
        if stream is None:
            self.opened(number, fields, ended=ended)
        else:
            stream.headers(fields, ended=ended)

    def _other(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.WINDOW_UPDATE:
            self._more_room(stream, frames.word(payload) & LARGEST_WINDOW)
        elif kind == frames.RESET:
            if (broken := self.streams.get(stream)) is not None:
                fault = frames.word(payload)
                self._end(broken, _FAULTS.get(fault, Fault.INTERNAL), "The stream was reset.")
        elif kind == frames.CONTINUATION:
            self._continuation(flags, stream, payload)
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._settings(payload)
        elif kind == frames.PING and not flags & frames.ACK:
            self._reply(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.GOAWAY:
            self.leaving(frames.word(payload) & LARGEST_WINDOW)

    def _end(self, stream: Stream, fault: Fault, text: str) -> None:
        self.remove(stream)
        stream.broken(fault, text)

    def _reply(self, reply: bytes) -> None:
        if self._writable is not None:
            self._replies += 1
            if self._replies > _MOST_REPLIES:
                raise ConnectionFault(Fault.ENHANCE_YOUR_CALM, "asks and does not read")
        self.write(reply)

    def _settings(self, payload: bytes) -> None:
        for position in range(0, len(payload) - 5, 6):
            setting, value = int.from_bytes(payload[position : position + 2], "big"), frames.word(payload, position + 2)
            if setting == frames.INITIAL_WINDOW:
                self._change_windows(value)
            elif setting == frames.MAX_CONCURRENT_STREAMS:
                self.limited(value)
        self._reply(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _change_windows(self, window: int) -> None:
        if window > LARGEST_WINDOW:
            raise ConnectionFault(Fault.FLOW_CONTROL, "a window is too large")
        change, self._peer_window = window - self._peer_window, window
        for stream in self.streams.values():
            stream.window += change
            _notify(stream)

    def _more_room(self, number: int, more: int) -> None:
        if number == 0:
            self._window += more
            if self._window > LARGEST_WINDOW:
                raise ConnectionFault(Fault.FLOW_CONTROL, "a window is too large")
            for stream in self.streams.values():
                _notify(stream)
        elif (known := self.streams.get(number)) is not None:
            known.window += more
            if known.window > LARGEST_WINDOW:
                raise ConnectionFault(Fault.FLOW_CONTROL, "a window is too large")
            _notify(known)


def _notify(stream: Stream) -> None:
    if stream.room is not None:
        stream.room.notify()


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(Fault.PROTOCOL, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
