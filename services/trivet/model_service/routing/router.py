"""Puts a call to a model to the target that serves it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

from trivet.model_service.domain.registry import Provider, Registry

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

    `operation` is what is asked for, as usage is told by it: `chat.completions`, `responses`, `embeddings` and so on.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ask(self, operation: str, model: str, asking: Callable[[Target], Awaitable[T]]) -> T:
        """The answer in one piece."""
        return await asking(self._target(model))

    async def stream(self, operation: str, model: str, asking: Callable[[Target], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """The answer as it comes. Closing the iterator ends the call."""
        async with aclosing(asking(self._target(model))) as messages:
            async for message in messages:
                yield message

    def _target(self, model: str) -> Target:
        return Target(*self._registry.resolve(model))
