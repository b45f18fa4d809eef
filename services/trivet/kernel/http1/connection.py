"""One connection, which serves one call after another."""

import asyncio
import select
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from trivet.kernel.http1.awaited import Awaited
from trivet.kernel.http1.failures import BrokenError, HttpError, LateError

_UNREAD_BYTES: Final = 256 * 1024
"""How much may wait for a slow reader before nothing more is taken from the socket; that is also the most of one read."""

_BARE_BYTES: Final = 64 * 1024
"""How much may come that is no body: a head, trailers, what is put around chunks."""

_ONE_WRITE_BYTES: Final = 64 * 1024
"""What is at most this long is copied behind its head: one buffer is sent faster than two."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: how long the next bytes of an answer, or its first, may take, and a whole call."""

    read: float
    total: float


class Connection(asyncio.Protocol):
    """A connection, and the answer of the call that it serves.

    A call is: `start`, perhaps `upload`, `head`, `read` until it gives nothing, and whatever happens `release`.
    `status` is 0 until the head is there; `headers` have names in lower case; `complete` says that the whole answer has come.
    """

    __slots__ = (
        "_asked",
        "_awaited",
        "_bare",
        "_closed",
        "_drained",
        "_failure",
        "_heard",
        "_keeps",
        "_loop",
        "_on_free",
        "_on_lost",
        "_parser",
        "_parts",
        "_patience",
        "_paused",
        "_raw_headers",
        "_socket",
        "_timer",
        "_total_at",
        "_transport",
        "_unread",
        "_upload",
        "_waiter",
        "complete",
        "free_since",
        "headers",
        "on_body",
        "on_header",
        "status",
        "taker",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        patience: Patience,
        on_free: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        """`on_free` is called when another call may be made, `on_lost` when none can be any more."""
        self.taker: Callable[[bytes], bool] | None = None
        """Is offered what comes of the body while its reader waits for it; what it takes is not read any more."""
        self._loop = loop
        self._patience = patience
        self._on_free = on_free
        self._on_lost = on_lost
        self._transport: asyncio.Transport
        self._asked = self._closed = self._keeps = self._paused = False
        self._bare = self._unread = 0
        self._awaited = Awaited.NOTHING
        self._heard = self._total_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._socket: select.poll | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._upload: asyncio.Task[None] | None = None
        self._failure: HttpError | None = None
        self._parts: list[bytes] = []
        self._raw_headers: dict[bytes, bytes] = {}
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        self.free_since = 0.0
        # The parser calls these for each piece and each header: they are C functions, so no frame of ours is entered.
        self.on_body = self._parts.append
        self.on_header = self._raw_headers.__setitem__
        self._parser = HttpResponseParser(self)
        # What real servers get away with at other clients.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    # ---- a call ----------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a call may be started."""
        return not self._closed and not self._transport.is_closing()

    @property
    def idle_seconds(self) -> float:
        """How long no call has been made, between two."""
        return self._loop.time() - self.free_since

    def is_fresh(self, seconds: float, *, surely: bool) -> bool:
        """Whether a call may be started, and the last one ended less than so many seconds ago.

        `surely` looks whether something has come that the loop has not read yet: between two calls that can only be the end.
        """
        if self._closed or self._transport.is_closing() or self._loop.time() - self.free_since >= seconds:
            return False
        if not surely:
            return True
        if self._socket is None:
            self._socket = select.poll()
            self._socket.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._socket.poll(0)

    def start(self, head: bytes, body: bytes) -> None:
        """Sends a request; `head` is all of it before the body."""
        self.status = 0
        self.complete = self._keeps = False
        self._failure = None
        self._bare = self._unread = 0
        self._parts.clear()
        self._raw_headers.clear()
        self._asked = True
        self._heard = now = self._loop.time()
        self._total_at = now + self._patience.total
        # The timer of an earlier call will do: it is over before this call is late, and looks then when that is.
        if self._timer is None:
            self._timer = self._loop.call_at(self._late_at(), self._look)
        if len(body) <= _ONE_WRITE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def upload(self, pieces: AsyncGenerator[bytes], length: int | None) -> None:
        """Goes on sending the body after `start`, beside the answer; without a `length`, which the head has told, in chunks.

        If `pieces` raises, or gives another number of bytes, the call is broken.
        """
        self._upload = self._loop.create_task(self._send(pieces, length))
        self._upload.add_done_callback(self._uploaded)

    async def head(self, besides: Awaited = Awaited.NOTHING) -> None:
        """Waits for the status and the headers. Raises HttpError."""
        self._awaited = besides
        while not self.status:
            if self._failure is not None:
                raise self._failure
            await self._news()
        self._awaited = Awaited.NOTHING

    async def read(self) -> bytes:
        """What has come of the body, as soon as there is some; nothing at its end. Raises HttpError, when all before is read."""
        parts = self._parts
        while not parts:
            if self.complete:
                return b""
            if self._failure is not None:
                raise self._failure
            await self._news()
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._unread = 0
        if self._paused:
            self._resume()
        return data

    def rest(self) -> bytes | None:
        """What has come of the body and was not read, if that is its end; else None, and `read` is to be used."""
        if not self.complete or self._paused:
            return None
        data = b"".join(self._parts)
        self._parts.clear()
        return data

    async def settle(self, seconds: float) -> None:
        """Waits a moment for the end of an answer of which nothing more is wanted, so that `release` need not close."""
        try:
            async with asyncio.timeout(seconds):
                while await self.read():
                    pass
        except (TimeoutError, HttpError):
            pass

    def release(self) -> None:
        """Ends the call. What has not come of the answer is not wanted any more: closing tells the server to stop."""
        self._asked = False
        self.taker = None
        is_settled = self.complete and self._keeps and not self._paused and self._upload is None
        if is_settled and not (self._closed or self._transport.is_closing()):
            self._parts.clear()
            self.free_since = self._loop.time()
            self._on_free(self)
        else:
            self.close()

    def close(self) -> None:
        """Closes at once: nothing that has not been sent is worth waiting for, and a call that still runs is broken."""
        self._fail(BrokenError("the connection was closed here"))

    # ---- what the transport says -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # not asserted: uvloop's only look like asyncio's

    def data_received(self, data: bytes) -> None:
        if not self._asked or self.complete:
            # Nothing was asked that this could answer, so it would be taken for the answer of the next call.
            self._keeps = False
            self._transport.abort()
            return
        self._heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._keeps = False
            if not self.complete:
                self._fail(BrokenError(f"not HTTP: {error}"))
                return
        if self._parts:
            self._bare = 0
            if self.taker is not None and self._taken(self.taker):
                return
            self._unread += len(data)
            if self._unread >= _UNREAD_BYTES and not self.complete:
                self._paused = True
                self._transport.pause_reading()
        elif not self.complete:
            self._bare += len(data)
            if self._bare > _BARE_BYTES:
                self._fail(BrokenError("too much that is no body"))
                return
        if self._awaited is Awaited.NOTHING or self.complete or self._paused or not self._lacks():
            self._wake()

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_upload()
        self._ended(exc)
        self._on_lost(self)
        # The two know each other: a circle, with the last answer in it, would wait for the garbage collector.
        del self._parser

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # ---- what the parser says --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            # Stops the parser, which would take what follows for more of the body.
            raise BrokenError("more than was asked for")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self.complete:
            self.headers = {name.lower(): value for name, value in self._raw_headers.items()}
            self.status = status
        # An interim answer (1xx) says nothing that matters here; the real one follows.
        self._raw_headers.clear()

    def on_message_complete(self) -> None:
        if self.status and not self.complete:
            self.complete = True
            self._keeps = self._parser.should_keep_alive()

    # ---- time ------------------------------------------------------------------------------------------------------

    def _late_at(self) -> float:
        return min(self._total_at, self._heard + self._patience.read)

    def _look(self) -> None:
        """Looks whether the call is late. There is one timer, which is not set anew whenever something comes."""
        self._timer = None
        if not self._asked or self.complete or self._failure is not None:
            return
        now = self._loop.time()
        if self._paused or self._upload is not None or self._drained is not None:
            # It is not the server that we wait for.
            self._heard = now
        late_at = self._late_at()
        if now < late_at:
            self._timer = self._loop.call_at(late_at, self._look)
        else:
            self._fail(LateError("nothing came for too long"))

    # ---- the rest --------------------------------------------------------------------------------------------------

    def _news(self) -> "asyncio.Future[None]":
        """What is done when something has happened."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _taken(self, taker: Callable[[bytes], bool]) -> bool:
        # Who does not wait has not read what came before; and the end is the reader's business.
        parts = self._parts
        if self._waiter is None or self.complete or not taker(parts[0] if len(parts) == 1 else b"".join(parts)):
            return False
        parts.clear()
        return True

    def _lacks(self) -> bool:
        """Whether what is awaited has not come."""
        return not self._parts if self._awaited is Awaited.BEGINNING else b"content-length" in self.headers

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, failure: HttpError) -> None:
        if not self.complete and self._failure is None:
            self._failure = failure
        self._keeps = False
        self._stop_upload()
        self._transport.abort()
        self._wake()

    def _ended(self, error: Exception | None) -> None:
        """Nothing more will come. That is the end of a body that is told by nothing else."""
        self._keeps = False
        if not self._asked or self.complete or self._failure is not None:
            return
        if error is None and self.status and not self.headers.keys() & {b"content-length", b"transfer-encoding"}:
            self.complete = True
        else:
            self._failure = BrokenError("the connection ended early")
        self._wake()

    def _resume(self) -> None:
        self._paused = False
        self._heard = self._loop.time()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    async def _send(self, pieces: AsyncGenerator[bytes], length: int | None) -> None:
        sent = 0
        async with aclosing(pieces):
            async for piece in pieces:
                sent += len(piece)
                if length is None:
                    # An empty chunk would be the last one.
                    if piece:
                        self._transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
                elif sent <= length:
                    self._transport.write(piece)
                if self._drained is not None:
                    await self._drained
        if length is None:
            self._transport.write(b"0\r\n\r\n")
        elif sent != length:
            raise BrokenError("the body has another length than its head tells")

    def _uploaded(self, task: asyncio.Task[None]) -> None:
        if self._upload is not task:
            return
        self._upload = None
        self._heard = self._loop.time()
        if not task.cancelled() and (error := task.exception()) is not None:
            failure = BrokenError("the body could not be sent")
            failure.__cause__ = error
            self._fail(failure)

    def _stop_upload(self) -> None:
        if self._upload is not None:
            self._upload.cancel()
