"""The state of one call in process, as its two ends share it; of one over our own HTTP/2, as the caller has it."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any

import grpc

from trivet.kernel.call import Call
from trivet.kernel.codec.runs import Reader
from trivet.kernel.inprocess.driving import driven
from trivet.kernel.inprocess.requests import RequestStream
from trivet.kernel.rpc import Metadata
from trivet.kernel.wakeup import Wakeup

WINDOW = 8
"""How many messages a handler may be ahead of its reader."""


Window = deque[Any]
"""The messages under way to the reader."""


class Exchange:
    """One call: the messages under way, and its status once it has ended.

    The first end counts, whoever brings it about: the handler by returning or aborting, the caller by cancelling, or
    the deadline. When it is not the handler that ends the call, the handler's task is cancelled: that is one of its own, or, by
    `drive`, the reader's.
    """

    __slots__ = (
        "_handler",
        "_interrupted",
        "_loop",
        "_room",
        "_timer",
        "callbacks",
        "changed",
        "code",
        "deadline",
        "details",
        "initial",
        "locally_cancelled",
        "messages",
        "metadata",
        "parent",
        "reader",
        "requests",
        "response",
        "task",
        "trailing",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        metadata: Metadata,
        timeout: float | None,
        parent: Call | None = None,
        requests: RequestStream | None = None,
    ) -> None:
        """`parent` is the call that this one is made for, `requests` the request, where that is a stream."""
        self._loop = loop
        self.metadata = metadata
        self.parent = parent
        self.requests = requests
        self.response: Any = None
        self.messages: Window | None = None
        """Made for the first message, because a unary call has none."""
        self.reader: Reader | None = None
        """Who waits for a message, if that takes anything at once."""
        self.changed = Wakeup(loop)
        """Notified of each message, of initial metadata and of the end."""
        self.initial: Metadata | None = None
        self.trailing: Metadata = ()
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self.locally_cancelled = False
        self.callbacks: list[Callable[[], None]] = []
        self.deadline = None if timeout is None else loop.time() + timeout
        self._timer = None if self.deadline is None else loop.call_at(self.deadline, self._expire)
        self.task: asyncio.Task[Any] | None = None
        self._handler: tuple[Coroutine[Any, Any, None], Context] | None = None
        self._interrupted = False
        self._room: Wakeup | None = None
        """Notified when there are fewer messages, or nobody will read; there only while a handler waits for that."""

    def run(self, handler: Coroutine[Any, Any, None], context: Context) -> None:
        """Start the handler; it sees `context`, not the context variables of its caller."""
        self.task = self._loop.create_task(handler, context=context)

    def hand_over(self, handler: Coroutine[Any, Any, None], context: Context) -> None:
        """Leave the handler to the reader to drive; if it does not do so at once, it is started in the next turn of the loop."""
        self._handler = handler, context
        self._loop.call_soon(self._run_undriven)

    def _run_undriven(self) -> None:
        unstarted, self._handler = self._handler, None
        if unstarted is not None:
            self.run(*unstarted)

    def drive(self) -> Generator[Any, Any, None]:
        """Run the handler, if nothing does yet, in the task of the reader, who waits for nothing but its end."""
        unstarted, self._handler = self._handler, None
        if unstarted is None:
            return
        self.task = task = asyncio.current_task(self._loop)
        try:
            yield from driven(*unstarted)
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
        finally:
            if self._interrupted and task is not None:
                task.uncancel()

    def time_remaining(self) -> float | None:
        """Seconds to the deadline that the caller has set, never negative; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - self._loop.time())

    async def room(self) -> None:
        """Return when the window is not full, or the call has ended."""
        while self.messages is not None and len(self.messages) >= WINDOW and self.code is None:
            # Whoever cancels the handler, which is what waits here, ends the call.
            if self._room is None:
                self._room = Wakeup(self._loop)
            await self._room.next()

    def more(self, texts: list[str]) -> bool:
        """Hand further texts of the run that the last message ended with to the reader, if it waits; see `More`."""
        return self.reader is not None and self.code is None and not self.messages and self.reader.more(texts)

    def take(self, messages: Window) -> Any:
        """The next one of `messages`, which there is, for the reader."""
        message = messages.popleft()
        if self._room is not None:
            self._tell_of_room()
        if self.callbacks:
            self._call_back_if_settled()
        return message

    async def ended(self) -> None:
        """Return when the call has its status."""
        while self.code is None:
            await self.changed.wait()

    def end(self, code: grpc.StatusCode, details: str = "") -> None:
        """Set the status, once."""
        if self.code is not None:
            return
        self.code, self.details = code, details
        if self._timer is not None:
            self._timer.cancel()
        if self.changed.waiters:
            self.changed.notify()
        if self._room is not None:
            self._tell_of_room()
        if self.requests is not None:
            self.requests.end()
        if self.callbacks:
            self._call_back_if_settled()

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen for the caller: it has its status, and has read every message."""
        return self.code is not None and not self.messages

    def cancel(self, details: str) -> bool:
        """End the call for its caller and cancel the handler; False if it was settled already."""
        if (self.code is not None and not self.messages) or self._loop.is_closed():
            return False
        self.locally_cancelled = True
        if self._handler is not None:
            self._handler[0].close()
            self._handler = None
        if self.messages is not None:
            self.messages.clear()
        self._interrupt(grpc.StatusCode.CANCELLED, details)
        self.code, self.details = grpc.StatusCode.CANCELLED, details
        if self.callbacks:
            self._call_back_if_settled()
        return True

    def _tell_of_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.notify()

    def _call_back_if_settled(self) -> None:
        if self.settled:
            callbacks, self.callbacks = self.callbacks, []
            for callback in callbacks:
                self._loop.call_soon(callback)

    def _expire(self) -> None:
        self._interrupt(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _interrupt(self, code: grpc.StatusCode, details: str) -> None:
        self.end(code, details)
        if self.task is not None:
            self._interrupted = True
            self.task.cancel()
