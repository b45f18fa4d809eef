"""Which models there are, and which provider serves each."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from trivet.kernel.errors import ModelNotFound, ServiceError
from trivet.model_service.domain.audio import Speaker, Transcriber
from trivet.model_service.domain.ports import Dialect, ModelInfo

LIST_SECONDS = 5.0
"""How long a provider may take to list its models."""

FRESH_SECONDS = 30.0
"""How long a provider's list is taken as it was."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider under its name. `models` are those it offers by configuration; None: any that it has.

    `native_mcp`: tools of MCP servers are left to it. `transcriber`, `speaker`: None where it has no such models.
    """

    name: str
    dialect: Dialect
    models: tuple[ModelInfo, ...] | None = None
    native_mcp: bool = False
    transcriber: Transcriber | None = None
    speaker: Speaker | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model under the name that callers use, `<provider>/<upstream model>`; the rest as in `ModelInfo`."""

    id: str
    provider: str
    created: int = 0
    description: str = ""


class Registry:
    """The providers, by name. `clock` tells seconds that only go forward."""

    def __init__(self, providers: Iterable[Provider], clock: Callable[[], float] = time.monotonic) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._clock = clock
        self._listed: dict[str, tuple[float, Sequence[ModelInfo]]] = {}

    def resolve(self, model: str) -> tuple[Provider, str]:
        """The provider of `model`, and the model's name there, which may hold slashes.

        Raises:
            ModelNotFound: there is no such provider, or it does not offer the model.
        """
        name, slash, upstream = model.partition("/")
        provider = self._providers.get(name)
        if provider is None or not slash or not upstream:
            raise ModelNotFound(model)
        if provider.models is not None and all(upstream != offered.id for offered in provider.models):
            raise ModelNotFound(model)
        return provider, upstream

    async def models(self) -> list[ServedModel]:
        """The models of all providers, in the order of the configuration; a provider that fails adds none."""
        lists = await asyncio.gather(*map(self._offered, self._providers.values()))
        return [model for offered in lists for model in offered or ()]

    async def model(self, name: str) -> ServedModel:
        """One model.

        Raises:
            ModelNotFound: as `resolve`, or the provider lists its models without it.
        """
        provider, _ = self.resolve(name)
        offered = await self._offered(provider)
        if offered is None:
            # It may well be there: asking it for an answer would be tried, too.
            return ServedModel(name, provider.name)
        for model in offered:
            if model.id == name:
                return model
        raise ModelNotFound(name)

    async def _offered(self, provider: Provider) -> list[ServedModel] | None:
        listed = await self._list(provider) if provider.models is None else provider.models
        if listed is None:
            return None
        return [ServedModel(f"{provider.name}/{model.id}", provider.name, model.created, model.description) for model in listed]

    async def _list(self, provider: Provider) -> Sequence[ModelInfo] | None:
        asked, listed = self._listed.get(provider.name, (0.0, None))
        if listed is not None and self._clock() - asked < FRESH_SECONDS:
            return listed
        try:
            async with asyncio.timeout(LIST_SECONDS):
                found = await provider.dialect.list_models()
        except (ServiceError, TimeoutError):
            return listed
        self._listed[provider.name] = self._clock(), found
        return found
