"""The chain of interceptors around every RPC, over the wire and in process."""

import asyncio
import inspect
from collections.abc import Callable, Iterable
from contextlib import aclosing
from functools import partial
from typing import Any, cast

from trivet.kernel.auth import KeyRing
from trivet.kernel.call import Call, Interceptor, current_call
from trivet.kernel.interceptors.access_log import access_log
from trivet.kernel.interceptors.authentication import Authentication
from trivet.kernel.interceptors.deadline import Deadline
from trivet.kernel.interceptors.errors import render_errors
from trivet.kernel.interceptors.request_id import request_id
from trivet.kernel.rpc import Context, Handler, behaviour_of, with_behaviour
from trivet.kernel.settings import ServerSettings

CLEANUP_SECONDS = 5.0
"""How long a cancelled call may take for its `finally` blocks."""


def standard_interceptors(settings: ServerSettings, keys: KeyRing | None) -> tuple[Interceptor, ...]:
    """What every server runs, the outermost first; without `keys` nobody is authenticated (tests only).

    1. request_id: everything below can name the call.
    2. access_log: sees the final code, also of the calls that the rest refuses.
    3. errors: the only place that turns an exception into a status, so all that may raise stands below it.
    4. deadline: bounds authentication too, and what it raises is rendered above.
    5. authentication: last, so that a refusal is logged, typed and bounded; nothing is parsed before it.

    Whatever judges the request itself (validation, limits per key) comes after these.
    """
    deadline = Deadline(settings.default_deadline_seconds, settings.max_deadline_seconds)
    authentication = () if keys is None else (Authentication(keys),)
    return (request_id, access_log, render_errors, deadline, *authentication)


class Chain:
    """Wraps servicer methods in interceptors, and knows which calls are running."""

    def __init__(self, interceptors: Iterable[Interceptor]) -> None:
        self._interceptors = tuple(interceptors)
        self._running: dict[asyncio.Task[Any], Call] = {}

    def wrap(self, method: str, handler: Handler) -> Handler:
        """The handler of `method` with the chain around it, for any of the four shapes."""
        serve = partial(_stream if handler.response_streaming else _unary, behaviour_of(handler))
        decode = None if handler.request_streaming else handler.request_deserializer

        async def run(request: Any, context: Context) -> Any:
            call = Call(method, request, context, decode)
            await self._run(call, partial(serve, call))
            return call.response

        return with_behaviour(handler, run, handler.request_deserializer if handler.request_streaming else None)

    async def drain(self, grace: float) -> None:
        """Wait `grace` seconds for the running calls, cancel those that are left, and wait for their clean-up.

        Reflection is not waited for: its streams stay open, without a key and idle, for as long as their clients like.
        """
        if awaited := [task for task, call in self._running.items() if not call.reflection]:
            await asyncio.wait(awaited, timeout=grace)
        for task, call in self._running.items():
            call.evicted = True
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=CLEANUP_SECONDS)

    async def _run(self, call: Call, serve: Callable[[], Any]) -> None:
        current_call.set(call)
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._running[task] = call
        try:
            await self._step(0, call, serve)
        finally:
            del self._running[task]
            call.end()

    async def _step(self, index: int, call: Call, serve: Callable[[], Any]) -> None:
        if index == len(self._interceptors):
            await serve()
        else:
            await self._interceptors[index](call, partial(self._step, index + 1, call, serve))


async def _unary(behaviour: Callable[[Any, Context], Any], call: Call) -> None:
    # A method that a servicer leaves to its generated base is synchronous: it raises NotImplementedError right here.
    answer = behaviour(call.request, call.context)
    call.response = await answer if inspect.isawaitable(answer) else answer


async def _stream(behaviour: Callable[[Any, Context], Any], call: Call) -> None:
    answer = behaviour(call.request, call.context)
    if inspect.isawaitable(answer):
        await answer  # it writes to the context itself
        return
    # A call that is cancelled between two messages is not inside the generator: closing it runs its `finally` now.
    async with aclosing(answer) as messages:
        async for message in messages:
            await call.context.write(message)
