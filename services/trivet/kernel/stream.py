"""What both kinds of streaming call, over the wire and in process, offer to their reader."""

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

import grpc

from trivet.kernel.codec.runs import Reader


class StreamCall(grpc.aio.UnaryStreamCall[Any, Any]):
    """Iterate over it, or `read()` until `grpc.aio.EOF`; the two may be mixed.

    It is its own iterator, so leaving a loop and entering another one goes on with the next message. Cancelling the
    task that reads, dropping the call, or closing it cancels the RPC.
    """

    def __del__(self) -> None:
        self.cancel()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    @abstractmethod
    async def read(self, reader: Reader | None = None) -> Any:
        """The next message, `grpc.aio.EOF` at the end. While it waits, `reader` may take what only goes on with text.

        Cancelling whoever waits here cancels the RPC.

        Raises:
            grpc.aio.AioRpcError: the RPC failed.
        """

    async def aclose(self) -> None:
        """Cancel what is left of the call."""
        self.cancel()
