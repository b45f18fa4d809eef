"""The chain of interceptors around every RPC, over the wire and in process."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

from google.protobuf.message import DecodeError

from trivet.kernel.auth import KeyRing
from trivet.kernel.call import Call, Judge, current_call, is_infrastructure
from trivet.kernel.catalogue import to_status
from trivet.kernel.errors import InvalidRequest
from trivet.kernel.interceptors.access_log import log
from trivet.kernel.interceptors.authentication import Authentication
from trivet.kernel.interceptors.deadline import Deadline
from trivet.kernel.interceptors.errors import error_of
from trivet.kernel.interceptors.request_id import name
from trivet.kernel.rpc import Context, Handler, abort, behaviour_of, with_behaviour
from trivet.kernel.settings import ServerSettings
from trivet.kernel.wakeup import Wakeup

CLEANUP_SECONDS = 5.0
"""How long a cancelled call may take for its `finally` blocks."""


class Chain:
    """Wraps servicer methods in interceptors, and knows which calls are running.

    All interceptors are synchronous, and one coroutine for each call runs them in this order:

    1. the request id: everything below can name the call;
    2. the access log, which sees the final code, also of the calls that the rest refuses;
    3. errors: the only place that turns an exception into a status, so all that may raise stands below it;
    4. the deadline: bounds all below, and what it raises is rendered above;
    5. authentication, unless who calls in this process has judged the key: nothing that came over a wire can say so. It is first of
       what judges a call, so that a refusal is logged and typed. Nothing is parsed before it: bytes become a message after it;
    6. `judges`: whatever else judges the request itself, such as validation. Infrastructure is not judged.

    Without `keys` nobody is authenticated (tests only).
    """

    def __init__(self, settings: ServerSettings, keys: KeyRing | None, judges: Iterable[Judge] = ()) -> None:
        self._deadline = Deadline(settings.default_deadline_seconds, settings.max_deadline_seconds)
        self._authentication = None if keys is None else Authentication(keys)
        self._judges = tuple(judges)
        self._running: dict[Call, asyncio.Task[Any]] = {}
        self._ended: Wakeup | None = None

    def wrap(self, method: str, handler: Handler) -> Handler:
        """The handler of `method` with the chain around it, for any of the four shapes."""
        streams = handler.response_streaming
        behave = behaviour_of(handler)
        decode = None if handler.request_streaming else handler.request_deserializer
        infrastructure = is_infrastructure(method)
        authenticate, judges = (None, ()) if infrastructure else (self._authentication, self._judges)

        async def run(request: Any, context: Context) -> Any:
            started = time.perf_counter()
            call = Call(method, request, context, infrastructure=infrastructure)
            current_call.set(call)
            call.has_company = bool(self._running) if call.parent is None else call.parent.has_company
            call.task = self._running[call] = getattr(context, "task", None) or _this_task()
            name(call)
            try:
                self._deadline.begin(call)
                if authenticate is not None and call.principal is None:
                    authenticate(call)
                if decode is not None and isinstance(request, bytes):
                    call.request = _decoded(request, decode)
                for judge in judges:
                    judge(call)
                answer: Any = behave(call.request, context)
                if streams and hasattr(answer, "__aiter__"):
                    messages, answer = answer, None
                    try:
                        async for message in messages:
                            await context.write(message)
                    finally:
                        # A call that is cancelled between two messages is not inside the generator: closing it runs its `finally`.
                        await messages.aclose()
                else:
                    # One that answers, or that writes to the context itself.
                    answer = await answer
                self._deadline.end(call)
            except BaseException as failure:
                expired = self._deadline.end(call)
                await _tell(failure, call, expired=expired)
                raise
            finally:
                del self._running[call]
                if self._ended is not None:
                    self._ended.notify()
                call.end()
                log(call, started)
            return answer

        return with_behaviour(handler, run, handler.request_deserializer if handler.request_streaming else None)

    async def drain(self, grace: float) -> None:
        """Wait `grace` seconds for the running calls, cancel those that are left, and wait for their clean-up.

        Reflection is not waited for: its streams stay open, without a key and idle, for as long as their clients like.
        """
        await self._end_of({call for call in self._running if not call.reflection}, grace)
        for call, task in self._running.items():
            # Who is answered in the task of its caller ends with that, who is told.
            if call.parent is None or self._running.get(call.parent) is not task:
                call.evicted = True
                task.cancel()
        await self._end_of(set(self._running), CLEANUP_SECONDS)

    async def _end_of(self, calls: set[Call], seconds: float) -> None:
        """Wait for the end of these calls; their tasks may be those of callers, who go on."""
        self._ended = ended = self._ended or Wakeup()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not calls.isdisjoint(self._running):
                    await ended.wait()


def _this_task() -> asyncio.Task[Any]:
    return cast("asyncio.Task[Any]", asyncio.current_task())


async def _tell(failure: BaseException, call: Call, *, expired: bool) -> None:
    """End a call that `failure` has ended with a status, if anybody can be told one.

    The error is not known to the frame that raises it: that would be a circle, with all that the call had to do with.
    """
    if (error := error_of(failure, call, expired=expired)) is not None:
        await abort(call.context, to_status(error))


def _decoded(request: bytes, decode: Callable[[bytes], Any]) -> Any:
    try:
        return decode(request)
    except DecodeError as failure:
        raise InvalidRequest("The request is not a message of the expected type.") from failure
