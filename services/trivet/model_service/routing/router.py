"""Puts a call to a model to the targets that may serve it, one after another until one does."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import Message

from trivet.kernel.call import Call, current_call
from trivet.kernel.catalogue import http_status
from trivet.kernel.errors import Overloaded, RequestTimeout, ServiceError
from trivet.model_service.domain.calls import CLIENT_LEFT, CallObserver
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.routing import Route, RouteTarget
from trivet.model_service.domain.routing_health import Health
from trivet.model_service.domain.routing_order import Draw, ordered, sticky_draw
from trivet.model_service.routing.attempts import Attempts, Sleep
from trivet.model_service.routing.log import CallLog
from trivet.model_service.routing.options import SAID, header_of, options_of
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
        log = CallLog(operation, model, stream=False, clock=self._clock, rpc=current_call.get())
        try:
            attempts, providers = self._attempts(log, model)
            while True:
                try:
                    answering = asking(_next(attempts, providers))
                    answer = await (attempts.in_time(answering) if attempts.is_bounded else answering)
                    attempts.answered(answer)
                    break
                except ServiceError as error:
                    await attempts.failed(error)
            attempts.served()
            if log.rpc is not None:
                await log.rpc.announce(log.headers())
        except BaseException as error:
            self._ended(log, error)
            raise
        self._ended(log, attempts.fault)
        return answer

    async def stream(
        self,
        operation: str,
        model: str,
        asking: Callable[[Target], AsyncGenerator[T]],
        shown: Callable[[T], T | None] | None = None,
        broken: Callable[[ServiceError], T] | None = None,
    ) -> AsyncGenerator[T]:
        """The answer as it comes, all of it from one target. Closing the iterator ends the call.

        While another attempt could still be made, nothing is passed on before the model says something. `shown` tells what the caller
        gets of a message that has been noted, None for nothing; `broken` what it gets in place of an error once it has a message.
        They are asked here, because each iterator around this one would cost as much as it.
        """
        log = CallLog(operation, model, stream=True, clock=self._clock, rpc=current_call.get())
        failure: ServiceError | None = None
        try:
            attempts, providers = self._attempts(log, model)
            messages, begun = await _begun(attempts, providers, asking)
            rest = attempts.rest(messages)
            try:
                if log.rpc is not None:
                    await log.rpc.announce(log.headers())
                for message in begun:
                    if (told := message if shown is None else shown(message)) is not None:
                        yield told
                async for message in rest:
                    attempts.passed(message)
                    if (told := message if shown is None else shown(message)) is not None:
                        yield told
            except ServiceError as error:
                attempts.broke(error)
                if broken is None:
                    raise
                failure = error
            finally:
                await attempts.close(rest, messages)
            attempts.served()
        except BaseException as error:
            self._ended(log, error)
            raise
        self._ended(log, failure or attempts.fault)
        if failure is not None and broken is not None:
            yield broken(failure)

    def _attempts(self, log: CallLog, model: str) -> tuple[Attempts, Mapping[str, Provider]]:
        """The attempts of a call, in the order that suits it now, and the providers of its targets."""
        rpc = log.rpc
        if rpc is not None and not SAID.isdisjoint(rpc.metadata):
            log.options = options_of(rpc.metadata)
        log.found = found = self._registry.find(model)
        route = found.route
        targets: Sequence[RouteTarget] = route.targets
        if len(targets) > 1:
            targets = ordered(route, self._health, self._clock(), self._draw_of(route, rpc))
        return Attempts(targets, log, health=self._health, draw=self._draw, sleep=self._sleep), found.providers

    def _ended(self, log: CallLog, error: BaseException | None) -> None:
        """Tell the observers of a call that has ended, well or with `error`."""
        if self._observers:
            record = log.record(200 if error is None else _status(error, log.rpc))
            for observer in self._observers:
                observer.finished(record)

    def _draw_of(self, route: Route, rpc: Call | None) -> Draw:
        if route.sticky and (value := header_of(rpc, route.sticky.header)):
            return sticky_draw(route.sticky, value, time.time())
        return lambda _: self._draw()


async def _begun(
    attempts: Attempts, providers: Mapping[str, Provider], asking: Callable[[Target], AsyncGenerator[T]]
) -> tuple[AsyncGenerator[T], list[T]]:
    """The stream of the first target that has begun one, and its first messages."""
    while True:
        try:
            messages = asking(_next(attempts, providers))
            try:
                return messages, await attempts.begin(messages)
            except BaseException:
                await messages.aclose()
                raise
        except ServiceError as error:
            await attempts.failed(error)


def _next(attempts: Attempts, providers: Mapping[str, Provider]) -> Target:
    """The target to ask now; its attempt begins."""
    target = attempts.start()
    return Target(providers[target.provider], target.model, target.override_params)


def _status(error: BaseException, rpc: Call | None) -> int:
    if isinstance(error, ServiceError):
        return http_status(error)
    if not isinstance(error, asyncio.CancelledError | GeneratorExit):
        return 500
    # Somebody has cancelled the call: the server, the RPC's deadline, or the caller.
    if rpc is not None and rpc.evicted:
        return http_status(Overloaded(""))
    if rpc is not None and rpc.time_remaining() == 0:
        return http_status(RequestTimeout())
    return CLIENT_LEFT
