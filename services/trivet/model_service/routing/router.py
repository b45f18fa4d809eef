"""Puts a call to a model to the targets that may serve it, one after another until one does."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import Message

from trivet.kernel.call import Call, current_call
from trivet.kernel.catalogue import http_status
from trivet.kernel.errors import Overloaded, RequestTimeout, ServiceError
from trivet.model_service.domain.calls import CLIENT_LEFT, CallObserver
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.routing import Route, RouteTarget
from trivet.model_service.domain.routing_course import Course
from trivet.model_service.domain.routing_health import Health
from trivet.model_service.domain.routing_order import Draw, ordered, sticky_draw
from trivet.model_service.routing.attempts import Attempts, Sleep
from trivet.model_service.routing.log import CallLog
from trivet.model_service.routing.options import Options, header_of, options_of
from trivet.model_service.routing.overrides import overridden

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Target:
    """A model at a provider, under its name there.

    `override_params` are parameters of the request that have other values for this target, by their names in the caller's API.
    """

    provider: Provider
    model: str
    override_params: Mapping[str, object] = field(default_factory=dict)

    def fitted(self, request: M) -> M:
        """The request as this target is to be asked it: the same one where it has no values of its own. Raises InvalidRequest."""
        return overridden(request, self.override_params)


class Router:
    """Asks the models of a registry. Both ways to ask raise ModelNotFound, InvalidRequest, and what the targets raise.

    `operation` is what is asked for, as usage is told by it: `chat.completions`, `responses`, `embeddings` and so on. `asking`
    is called once for each attempt. Each call is told to the observers once, when it has ended.

    What is remembered of targets is `health`, by the time that `clock` tells in seconds; `draw` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        registry: Registry,
        observers: Sequence[CallObserver] = (),
        *,
        health: Health | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._registry = registry
        self._observers = observers
        self._health = health or Health()
        self.apply()
        self._clock = clock
        self._draw = draw
        self._sleep = sleep

    def apply(self) -> None:
        """Take note that the registry has other routes now: targets that stay keep what is remembered of them."""
        self._health.keep(target.name for route in self._registry.routes for target in route.targets)

    async def ask(self, operation: str, model: str, asking: Callable[[Target], Awaitable[T]]) -> T:
        """The answer in one piece."""
        with self._call(operation, model, stream=False) as (call, attempts):
            while True:
                try:
                    answer = await attempts.whole(lambda: asking(self._target(attempts.target)))
                    break
                except ServiceError as error:
                    await attempts.failed(error)
            attempts.served()
            call.fault = attempts.fault
            await call.announce()
            return answer

    async def stream(self, operation: str, model: str, asking: Callable[[Target], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """The answer as it comes, all of it from one target. Closing the iterator ends the call.

        While another attempt could still be made, nothing is passed on before the model says something.
        """
        with self._call(operation, model, stream=True) as (call, attempts):
            messages, begun = await self._begun(attempts, asking)
            async with aclosing(messages):
                await call.announce()
                for message in begun:
                    yield message
                try:
                    async with aclosing(attempts.rest(messages)) as rest:
                        async for message in rest:
                            yield message
                except ServiceError as error:
                    attempts.broke(error)
                    raise
            attempts.served()
            call.fault = attempts.fault

    async def _begun(
        self, attempts: Attempts, asking: Callable[[Target], AsyncGenerator[T]]
    ) -> tuple[AsyncGenerator[T], list[T]]:
        while True:
            try:
                messages = asking(self._target(attempts.target))
                try:
                    return messages, await attempts.begin(messages)
                except BaseException:
                    await messages.aclose()
                    raise
            except ServiceError as error:
                await attempts.failed(error)

    def _target(self, target: RouteTarget) -> Target:
        return Target(self._registry.provider(target.provider), target.model, target.override_params)

    @contextmanager
    def _call(self, operation: str, model: str, *, stream: bool) -> Iterator[tuple["_Call", Attempts]]:
        call = _Call(CallLog(operation, model, stream=stream, clock=self._clock), current_call.get())
        status = 500
        try:
            call.options = options_of(call.rpc)
            call.log.route = route = self._registry.route(model)
            yield call, self._attempts(call, route)
            status = http_status(call.fault) if call.fault else 200
        except ServiceError as error:
            status = http_status(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            status = call.cancelled_status()
            raise
        finally:
            call.log.end(status)
            self._tell(call, status)

    def _tell(self, call: "_Call", status: int) -> None:
        if self._observers:
            target = call.log.target
            kind = self._registry.provider(target.provider).type if target else ""
            record = call.log.record(status, kind, call.rpc, call.options.metadata)
            for observer in self._observers:
                observer.finished(record)

    def _attempts(self, call: "_Call", route: Route) -> Attempts:
        """The attempts of a call, in the order that suits it now."""
        targets = ordered(route, self._health, self._clock(), self._draw_of(route, call.rpc))
        course = Course(targets, call.options.retry, self._draw)
        return Attempts(course, call.options, call.log, health=self._health, call=call.rpc, sleep=self._sleep)

    def _draw_of(self, route: Route, rpc: Call | None) -> Draw:
        if route.sticky and (value := header_of(rpc, route.sticky.header)):
            return sticky_draw(route.sticky, value, time.time())
        return lambda _: self._draw()


@dataclass(slots=True)
class _Call:
    """A call with what is known of it. `rpc` is the RPC that it belongs to, if any."""

    log: CallLog
    rpc: Call | None
    options: Options = field(default_factory=Options)
    fault: ServiceError | None = None

    async def announce(self) -> None:
        """Tell the caller of the RPC who answers."""
        if self.rpc is not None:
            await self.rpc.announce(self.log.headers())

    def cancelled_status(self) -> int:
        """The status of a call that somebody has cancelled: the server, the RPC's deadline, or the caller."""
        if self.rpc is not None and self.rpc.evicted:
            return http_status(Overloaded(""))
        if self.rpc is not None and self.rpc.time_remaining() == 0:
            return http_status(RequestTimeout())
        return CLIENT_LEFT
