"""The providers of the configuration while it changes: unchanged ones stay open, others are closed when no call needs them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.providers import open_provider
from trivet.model_service.settings import ProviderSettings


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    settings: ProviderSettings
    provider: Provider
    closing: AsyncExitStack


class OpenProviders:
    """Opens and closes what `registry` finds; at first it finds nothing."""

    def __init__(self) -> None:
        self.registry = Registry((), left=self._close_unused)
        self._now: dict[str, _Open] = {}
        self._open: list[_Open] = []
        self._closing: set[asyncio.Task[None]] = set()

    def prepare(self, settings: Sequence[ProviderSettings], undo: AsyncExitStack) -> Callable[[], None]:
        """Open what is new or has other settings; what comes back puts all of it in the place of what was there before.

        Without that, `undo` closes what was opened. Raises what opening a provider raises.
        """
        return partial(self._switch, [self._kept(each) or _opened(each, undo) for each in settings])

    async def aclose(self) -> None:
        """Close all; calls that still run end with an error."""
        for one in list(self._open):
            self._close(one)
        if self._closing:
            await asyncio.wait(self._closing)

    def _kept(self, settings: ProviderSettings) -> _Open | None:
        now = self._now.get(settings.name)
        return now if now is not None and now.settings == settings else None

    def _switch(self, providers: Sequence[_Open]) -> None:
        self._open += [one for one in providers if one not in self._open]
        self._now = {one.settings.name: one for one in providers}
        self.registry.replace(one.provider for one in providers)

    def _close_unused(self) -> None:
        used = self.registry.in_use
        for one in [one for one in self._open if one.provider not in used]:
            self._close(one)

    def _close(self, one: _Open) -> None:
        self._open.remove(one)
        task = asyncio.create_task(one.closing.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _opened(settings: ProviderSettings, undo: AsyncExitStack) -> _Open:
    closing = AsyncExitStack()
    undo.push_async_callback(closing.aclose)
    return _Open(settings, open_provider(settings, closing), closing)


@asynccontextmanager
async def open_providers(settings: Sequence[ProviderSettings]) -> AsyncIterator[OpenProviders]:
    """These providers, open until the context ends. Raises what opening a provider raises."""
    providers = OpenProviders()
    async with AsyncExitStack() as undo:
        switch = providers.prepare(settings, undo)
        undo.pop_all()
    switch()
    try:
        yield providers
    finally:
        await providers.aclose()
