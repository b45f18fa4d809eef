"""Puts a call to a model to the target that serves it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trivet.kernel.call import current_call
from trivet.kernel.catalogue import http_status
from trivet.kernel.errors import ServiceError
from trivet.model_service.domain.calls import CLIENT_LEFT, Attempt, CallObserver, CallRecord
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.turn import Usage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """A model at a provider, under its name there.

    `override_params` are parameters of the request that have other values for this target, by their names in the caller's API.
    """

    provider: Provider
    model: str
    override_params: Mapping[str, object] = field(default_factory=dict)


class Router:
    """Asks the models of a registry. Both ways to ask raise ModelNotFound, and what the target raises.

    `operation` is what is asked for, as usage is told by it: `chat.completions`, `responses`, `embeddings` and so on. Each call
    is told to the observers once, when it has ended.
    """

    def __init__(self, registry: Registry, observers: Sequence[CallObserver] = ()) -> None:
        self._registry = registry
        self._observers = observers

    async def ask(self, operation: str, model: str, asking: Callable[[Target], Awaitable[T]]) -> T:
        """The answer in one piece."""
        with self._call(operation, model, stream=False) as call:
            call.target = self._target(model)
            answer = await asking(call.target)
            call.usage = _usage(answer)
            return answer

    async def stream(self, operation: str, model: str, asking: Callable[[Target], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """The answer as it comes. Closing the iterator ends the call."""
        with self._call(operation, model, stream=True) as call:
            call.target = self._target(model)
            async with aclosing(asking(call.target)) as messages:
                async for message in messages:
                    call.first = call.first or time.monotonic()
                    call.usage = _usage(message) or call.usage
                    yield message

    def _target(self, model: str) -> Target:
        return Target(*self._registry.resolve(model))

    @contextmanager
    def _call(self, operation: str, model: str, *, stream: bool) -> "Iterator[_Call]":
        call = _Call(operation, model, stream)
        status = 500
        try:
            yield call
            status = 200
        except ServiceError as error:
            status = http_status(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            status = CLIENT_LEFT
            raise
        finally:
            for observer in self._observers:
                observer.finished(call.record(status))


@dataclass(slots=True)
class _Call:
    operation: str
    model: str
    stream: bool
    started: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    first: float | None = None
    target: Target | None = None
    usage: Usage | None = None

    def record(self, status: int) -> CallRecord:
        rpc, target = current_call.get(), self.target
        seconds = time.monotonic() - self.began
        return CallRecord(
            operation=self.operation,
            model=self.model,
            provider=target.provider.name if target else "",
            provider_type="",
            upstream_model=target.model if target else "",
            attempts=(Attempt(f"{target.provider.name}/{target.model}", status, seconds),) if target else (),
            started=self.started,
            first_token_seconds=None if self.first is None else self.first - self.began,
            total_seconds=seconds,
            status=status,
            usage=self.usage,
            stream=self.stream,
            request_id=rpc.request_id if rpc else "",
            principal=(rpc.principal or "") if rpc else "",
        )


def _usage(message: Any) -> Usage | None:
    """The tokens that a message tells of, whole or of a stream."""
    if hasattr(message, "events"):
        kind = message.events[-1].WhichOneof("event") if message.events else None
        told = [getattr(message.events[-1], kind).response] if kind in ("completed", "incomplete", "failed") else []
    else:
        told = list(getattr(message, "chunks", [message]))
    used: Any = next(
        (one.usage for one in reversed(told) if getattr(one, "usage", None) is not None and one.HasField("usage")), None
    )
    if used is None:
        return None
    given: int = getattr(used, "prompt_tokens", 0) or getattr(used, "input_tokens", 0)
    made: int = getattr(used, "completion_tokens", 0) or getattr(used, "output_tokens", 0)
    details = getattr(used, "prompt_tokens_details", None) or getattr(used, "input_tokens_details", None)
    return Usage(given, made, given + made, getattr(details, "cached_tokens", 0)) if given or made else None
