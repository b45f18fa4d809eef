"""Puts a call to a model to the targets that may serve it, one after another until one does."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

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
from trivet.model_service.routing.options import NOTHING_SAID, header_of, options_of
from trivet.model_service.routing.overrides import overridden

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(slots=True)
class Target:
    """A model at a provider, under its name there.

    `override_params` are parameters of the request that have other values for this target, by their names in the caller's API.
    """

    provider: Provider
    model: str
    override_params: Mapping[str, object] = field(default_factory=dict)

    def fitted(self, request: M) -> M:
        """The request as this target is to be asked it: the same one where it has no values of its own. Raises InvalidRequest."""
        return overridden(request, self.override_params) if self.override_params else request


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
        with _Call(CallLog(operation, model, stream=False, clock=self._clock), self._observers) as call:
            attempts = self._attempts(call, model)
            while True:
                try:
                    answer = await attempts.bounded(asking(call.target(attempts)))
                    attempts.answered(answer)
                    break
                except ServiceError as error:
                    await attempts.failed(error)
            attempts.served()
            call.fault = attempts.fault
            if call.rpc is not None:
                await call.rpc.announce(call.log.headers())
            return answer

    async def stream(self, operation: str, model: str, asking: Callable[[Target], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """The answer as it comes, all of it from one target. Closing the iterator ends the call.

        While another attempt could still be made, nothing is passed on before the model says something.
        """
        with _Call(CallLog(operation, model, stream=True, clock=self._clock), self._observers) as call:
            attempts = self._attempts(call, model)
            messages, begun = await self._begun(call, attempts, asking)
            async with aclosing(messages), aclosing(attempts.rest(messages)) as rest:
                if call.rpc is not None:
                    await call.rpc.announce(call.log.headers())
                for message in begun:
                    yield message
                try:
                    async for message in rest:
                        attempts.passed(message)
                        yield message
                except ServiceError as error:
                    attempts.broke(error)
                    raise
            attempts.served()
            call.fault = attempts.fault

    async def _begun(
        self, call: "_Call", attempts: Attempts, asking: Callable[[Target], AsyncGenerator[T]]
    ) -> tuple[AsyncGenerator[T], list[T]]:
        while True:
            try:
                messages = asking(call.target(attempts))
                try:
                    return messages, await attempts.begin(messages)
                except BaseException:
                    await messages.aclose()
                    raise
            except ServiceError as error:
                await attempts.failed(error)

    def _attempts(self, call: "_Call", model: str) -> Attempts:
        """The attempts of a call, in the order that suits it now."""
        call.options = options = options_of(call.rpc)
        found = self._registry.find(model)
        call.providers = found.providers
        call.log.route = route = found.route
        targets: Sequence[RouteTarget] = route.targets
        if len(targets) > 1:
            targets = ordered(route, self._health, self._clock(), self._draw_of(route, call.rpc))
        course = Course(targets, options.retry, self._draw)
        return Attempts(course, options, call.log, health=self._health, call=call.rpc, sleep=self._sleep)

    def _draw_of(self, route: Route, rpc: Call | None) -> Draw:
        if route.sticky and (value := header_of(rpc, route.sticky.header)):
            return sticky_draw(route.sticky, value, time.time())
        return lambda _: self._draw()


class _Call:
    """A call while it runs, with what is known of it; when it ends, however it does, the observers are told.

    `rpc` is the RPC that it belongs to, if any.
    """

    __slots__ = ("_observers", "fault", "log", "options", "providers", "rpc")

    def __init__(self, log: CallLog, observers: Sequence[CallObserver]) -> None:
        self.log = log
        self.rpc = current_call.get()
        self.options = NOTHING_SAID
        self.providers: Mapping[str, Provider] = {}
        self.fault: ServiceError | None = None
        self._observers = observers

    def target(self, attempts: Attempts) -> Target:
        """The target to ask now; its attempt begins."""
        target = attempts.start()
        return Target(self.providers[target.provider], target.model, target.override_params)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        status = self._status(error or self.fault)
        self.log.end(status)
        if not self._observers:
            return
        target = self.log.target
        provider_type = self.providers[target.provider].type if target else ""
        record = self.log.record(status, provider_type, self.rpc, self.options.metadata)
        for observer in self._observers:
            observer.finished(record)

    def _status(self, error: BaseException | None) -> int:
        if error is None:
            return 200
        if isinstance(error, ServiceError):
            return http_status(error)
        if not isinstance(error, asyncio.CancelledError | GeneratorExit):
            return 500
        # Somebody has cancelled the call: the server, the RPC's deadline, or the caller.
        if self.rpc is not None and self.rpc.evicted:
            return http_status(Overloaded(""))
        if self.rpc is not None and self.rpc.time_remaining() == 0:
            return http_status(RequestTimeout())
        return CLIENT_LEFT
