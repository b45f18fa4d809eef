"""The short way into a service of the same process, for its faces."""

import asyncio
from collections.abc import Generator, Iterable
from contextvars import Context
from typing import Any, NoReturn

import grpc

from trivet.kernel.inprocess.context import PEER
from trivet.kernel.inprocess.driving import driven
from trivet.kernel.own_context import OwnContext
from trivet.kernel.rpc import Behaviour, Metadata


class FaceCall(OwnContext):
    """Both ends of a call with one message and one answer whose maker does nothing but await it, once, in its own task.

    So there is no task to start, no message to queue, nobody to wake, and no deadline but the server's: nothing of what an `Exchange`
    is for. To its maker it is a call, to the handler its context.

    Await it for the answer. Raises what the caller's end of any call does: AioRpcError, and CancelledError where it was cancelled here.
    """

    in_process = True
    parent = None
    task: asyncio.Task[Any] | None = None
    _initial: Metadata | None = None
    _trailing: Metadata = ()
    _ended = False
    _cancelled = False

    def __init__(
        self,
        run: Behaviour,
        request: Any,
        metadata: Metadata,
        variables: Context,
        *,
        principal: str | None,
        accepts_rendered: bool,
    ) -> None:
        """`run` is the method with the chain around it; it sees these context variables. See `InProcessContext` for the rest."""
        self._run = run
        self._request = request
        self._metadata = metadata
        self._variables: Context | None = variables
        self.principal = principal
        self.accepts_rendered = accepts_rendered

    # ---- the maker's end -------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Any]:
        if self._cancelled:
            raise asyncio.CancelledError
        # They know the call as the running one, which knows this: a circle would wait for the garbage collector.
        variables, self._variables = self._variables, None
        if variables is None:
            raise asyncio.InvalidStateError("The call was awaited before.")
        self.task = task = asyncio.current_task()
        try:
            answer = yield from driven(self._run(self._request, self), variables)
            if (self._code is None or self._code is grpc.StatusCode.OK) and not self._cancelled:
                return answer
        except (grpc.aio.AbortError, grpc.aio.InternalError):
            pass  # the code says it
        finally:
            self._ended = True
            self.task = None
            if self._cancelled and task is not None:
                task.uncancel()
            for callback in self._callbacks:
                callback(self)
        raise self._failure()

    def _failure(self) -> BaseException:
        if self._cancelled:
            return asyncio.CancelledError()
        return grpc.aio.AioRpcError(
            self._code or grpc.StatusCode.UNKNOWN,
            grpc.aio.Metadata.from_tuple(self.initial_pairs),
            grpc.aio.Metadata.from_tuple(self._trailing),
            details=self._details,
        )

    def cancel(self) -> bool:
        """End the call, and with it what its maker awaits; False if it has ended."""
        if self._ended or self._cancelled:
            return False
        self._cancelled = True
        if self.task is not None:
            self.task.cancel()
        return True

    @property
    def initial_pairs(self) -> Metadata:
        """See `OwnCall.initial_pairs`."""
        return self._initial or ()

    # ---- the handler's end -----------------------------------------------------------------------------------------

    async def read(self) -> NoReturn:
        raise grpc.aio.UsageError("The request is not a stream.")

    async def write(self, message: Any) -> NoReturn:
        raise grpc.aio.UsageError("The answer is not a stream.")

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[Any] = ()) -> NoReturn:
        if code is grpc.StatusCode.OK:
            raise grpc.aio.UsageError("OK is no status to abort with.")
        self._code, self._details = code, details
        self._trailing = tuple(trailing_metadata) or self._trailing
        raise grpc.aio.AbortError("Locally aborted.")

    async def send_initial_metadata(self, initial_metadata: Iterable[Any]) -> None:
        if self._initial is not None:
            raise grpc.aio.UsageError("The initial metadata has been sent.")
        self._initial = tuple(initial_metadata)

    def set_trailing_metadata(self, trailing_metadata: Iterable[Any]) -> None:
        self._trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Any:
        return self._trailing

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> Any:
        return None

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        return self._ended or self._cancelled

    def peer(self) -> str:
        return PEER
