"""The handler's end of an in-process call: the context that a servicer's method gets."""

import asyncio
from collections.abc import Iterable
from typing import Any, NoReturn

import grpc

from trivet.kernel.call import Call
from trivet.kernel.codec.runs import More
from trivet.kernel.inprocess.exchange import WINDOW, Exchange, Window
from trivet.kernel.own_context import OwnContext
from trivet.kernel.rpc import Behaviour, Metadata

PEER = "in-process"
_OK = grpc.StatusCode.OK


class InProcessContext(OwnContext):
    """Everything of `grpc.aio.ServicerContext` that means something without a wire."""

    in_process = True

    def __init__(self, exchange: Exchange, principal: str | None = None) -> None:
        self._exchange = exchange
        self.parent: Call | None = exchange.parent
        """The call that made this one, None where it was made outside of any."""
        self.principal = principal
        """Who makes the call, where the caller has judged the key already."""
        self.task: asyncio.Task[Any] | None = exchange.task
        """The task that answers the call."""

    async def write(self, message: Any) -> None:
        """Hand `message` to the reader, waiting while the window is full.

        Raises:
            grpc.aio.InternalError: the call has ended, as over the wire.
        """
        exchange = self._exchange
        messages = exchange.messages
        if messages is None:
            messages = exchange.messages = Window()
        elif len(messages) >= WINDOW:
            await exchange.room()
        if exchange.code is not None:
            raise grpc.aio.InternalError("The call has ended: nobody reads this message.")
        if exchange.initial is None:
            # As over the wire: with the first message it is settled that there are none.
            exchange.initial = ()
        messages.append(message)
        if exchange.changed.waiters:
            exchange.changed.notify()

    @property
    def more(self) -> More:
        """See `More`."""
        return self._exchange.more

    async def read(self) -> Any:
        if self._exchange.requests is None:
            raise grpc.aio.UsageError("The request is not a stream.")
        return await self._exchange.requests.read()

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[Any] = ()) -> NoReturn:
        if code is grpc.StatusCode.OK:
            raise grpc.aio.UsageError("OK is no status to abort with.")
        self._code, self._details = code, details
        self._exchange.trailing = tuple(trailing_metadata) or self._exchange.trailing
        self._exchange.end(code, details)
        raise grpc.aio.AbortError("Locally aborted.")

    async def send_initial_metadata(self, initial_metadata: Iterable[Any]) -> None:
        if self._exchange.initial is not None:
            raise grpc.aio.UsageError("The initial metadata has been sent.")
        self._exchange.initial = tuple(initial_metadata)
        if self._exchange.changed.waiters:
            self._exchange.changed.notify()

    def set_trailing_metadata(self, trailing_metadata: Iterable[Any]) -> None:
        self._exchange.trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Any:
        return self._exchange.trailing

    def invocation_metadata(self) -> Any:
        return self._exchange.metadata

    def time_remaining(self) -> Any:
        deadline = self._exchange.deadline
        return None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())

    def cancelled(self) -> bool:
        return self._exchange.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._exchange.code is not None

    def handler_ended(self) -> None:
        """Call back those who wait for the end of the handler, however it ended."""
        # The task knows its call, which knows this: a circle would wait for the garbage collector.
        self._exchange.task = self.task = None
        for callback in self._callbacks:
            callback(self)

    def peer(self) -> str:
        return PEER


async def serve(run: Behaviour, request: Any, exchange: Exchange, principal: str | None) -> None:
    """Have the call answered by `run`: a method with the chain around it, which turns all but these exceptions into a status.

    `principal` is who makes it, where the caller has judged the key.
    """
    context = InProcessContext(exchange, principal)
    try:
        exchange.response = await run(request, context)
        exchange.end(context._code or _OK, context._details)  # noqa: SLF001 - the other half of this class
    except (grpc.aio.AbortError, grpc.aio.InternalError):
        pass  # the call has ended
    except asyncio.CancelledError:
        exchange.end(grpc.StatusCode.CANCELLED, "The server cancelled the call.")
        raise
    finally:
        if exchange.code is None:
            exchange.end(grpc.StatusCode.UNKNOWN, "The handler failed.")
        context.handler_ended()


def metadata_of(pairs: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """`pairs` as both ends see them.

    Raises:
        ValueError: a key is not lower case, which would fail over the wire.
    """
    metadata = tuple(pairs)
    for name, _ in metadata:
        if not name.islower() and name != name.lower():
            raise ValueError(f"metadata keys are lower case: {name}")
    return metadata
