"""The messages of a streaming request, on their way from the caller to the handler."""

import asyncio
from collections import deque
from typing import Any

import grpc

from trivet.kernel.wakeup import Wakeup

REQUEST_WINDOW = 8
"""How many messages a caller may be ahead of the handler."""


class RequestStream:
    """Iterate over it, or `read()` until `grpc.aio.EOF`, as over what a servicer gets from grpcio."""

    __slots__ = ("_messages", "_moved", "complete", "ended")

    def __init__(self) -> None:
        self._messages: deque[Any] = deque()
        self._moved = Wakeup()
        self.complete = False
        """Whether the caller has said all."""
        self.ended = False
        """Whether the call has its status, after which nobody reads."""

    async def write(self, message: Any) -> bool:
        """Hand `message` to the handler, waiting while the window is full; False if the call has ended instead."""
        while len(self._messages) >= REQUEST_WINDOW and not self.ended:
            await self._moved.wait()
        if self.ended:
            return False
        self._messages.append(message)
        self._moved.notify()
        return True

    def finish(self) -> None:
        """Nothing more will be written."""
        self.complete = True
        self._moved.notify()

    def end(self) -> None:
        """Nothing more will be read."""
        self.ended = True
        self._messages.clear()
        self._moved.notify()

    async def read(self) -> Any:
        """The next message, `grpc.aio.EOF` when there are no more.

        Raises:
            asyncio.CancelledError: the call ended before the caller had said all; what came is not the whole request.
        """
        while not self._messages:
            if self.ended and not self.complete:
                raise asyncio.CancelledError
            if self.complete:
                return grpc.aio.EOF
            await self._moved.wait()
        message = self._messages.popleft()
        self._moved.notify()
        return message

    def __aiter__(self) -> "RequestStream":
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message
