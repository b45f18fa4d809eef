"""Which models there are, and which provider serves each."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from trivet.kernel.errors import ModelNotFound, ServiceError
from trivet.kernel.versions import Versions
from trivet.model_service.domain.audio import Speaker, Transcriber
from trivet.model_service.domain.embeddings import Embedder
from trivet.model_service.domain.moderation import Moderator
from trivet.model_service.domain.ports import Dialect, ModelInfo
from trivet.model_service.domain.rerank import Reranker
from trivet.model_service.domain.routing import Route, RouteTarget

LIST_SECONDS = 5.0
"""How long a provider may take to list its models."""

FRESH_SECONDS = 30.0
"""How long a provider's list is taken as it was."""


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """A provider under its name. `models` are those it offers by configuration; None: any that it has.

    `native_mcp`: tools of MCP servers are left to it. `type` is the one in the configuration. `embedder`, `reranker`, `moderator`,
    `transcriber`, `speaker`: None where it has no such models.
    """

    name: str
    dialect: Dialect
    models: tuple[ModelInfo, ...] | None = None
    native_mcp: bool = False
    type: str = ""
    embedder: Embedder | None = None
    reranker: Reranker | None = None
    moderator: Moderator | None = None
    transcriber: Transcriber | None = None
    speaker: Speaker | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model under the name that callers use, `<provider>/<upstream model>`; the rest as in `ModelInfo`."""

    id: str
    provider: str
    created: int = 0
    description: str = ""


OWNER: Final = "trivet"
"""Who has the models that are configured here."""


_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 256
"""The names of a provider's own models come from callers: so many, and none that is longer, are remembered with their routes."""


D = TypeVar("D")

Served: TypeAlias = Sequence[tuple[Provider, str]]
"""The providers that may serve a model, each with its name there, as they are configured."""


@dataclass(slots=True, eq=False)
class Found:
    """The route of a model, and the providers beside it by name, all of the same configuration."""

    route: Route
    providers: Mapping[str, Provider]
    _known: dict[Callable[[Served], Any], Any] = field(default_factory=dict)

    @property
    def served(self) -> Served:
        """The providers that may serve the model."""
        return [(self.providers[target.provider], target.model) for target in self.route.targets]

    def known(self, of: Callable[[Served], D]) -> D:
        """What a function tells of the providers that may serve the model. It is asked once: what is configured stays as it is."""
        try:
            told: D = self._known[of]
        except KeyError:
            told = self._known[of] = of(self.served)
        return told


class _Offer:
    """What a configuration offers: all that a call looks up by the name of a model."""

    def __init__(self, providers: Iterable[Provider], routes: Iterable[Route]) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self._configured = {route.model: Found(route, self.providers) for route in routes}
        self.known = dict(self._configured)
        """What is configured, and some of what was found besides."""

    @property
    def routes(self) -> list[Route]:
        """As `Registry.routes`."""
        return [found.route for found in self._configured.values()]

    def find(self, model: str, named: Callable[[], str]) -> Found:
        """As `Registry.find`, for a model that is not `known`."""
        if "/" not in model:
            return self._directly(model, f"{named()}/{model}")
        found = self._directly(model, model)
        if len(model) <= _LONGEST_REMEMBERED:
            if len(self.known) >= len(self._configured) + _REMEMBERED:
                self.known = dict(self._configured)
            self.known[model] = found
        return found

    def resolve(self, model: str) -> tuple[Provider, str]:
        """As `Registry.resolve`."""
        name, slash, upstream = model.partition("/")
        provider = self.providers.get(name)
        if provider is None or not slash or not upstream or not _is_offered(provider, upstream):
            raise ModelNotFound(model)
        return provider, upstream

    def _directly(self, model: str, full: str) -> Found:
        try:
            provider, upstream = self.resolve(full)
        except ModelNotFound:
            raise ModelNotFound(model) from None
        return Found(Route(model, (RouteTarget(provider.name, upstream),), direct=True), self.providers)


class Registry:
    """The providers and the routes, by name. `clock` tells seconds that only go forward.

    They may be replaced while calls run: each call goes on with those that it began with. `left` is called when calls have left
    some that were replaced. `named` tells the provider of a model whose name does not; "" where nobody says.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        clock: Callable[[], float] = time.monotonic,
        *,
        routes: Iterable[Route] = (),
        named: Callable[[], str] = str,
        left: Callable[[], None] = lambda: None,
    ) -> None:
        self._offers = Versions(_Offer(providers, routes), left)
        self._named = named
        self._clock = clock
        self._listed: dict[Provider, tuple[float, Sequence[ModelInfo]]] = {}

    @property
    def _providers(self) -> Mapping[str, Provider]:
        """Those of the running call."""
        return self._offers.value.providers

    @property
    def in_use(self) -> list[Provider]:
        """The providers, and those that were replaced and are still held by calls; one may be there twice."""
        return [provider for offer in self._offers.alive for provider in offer.providers.values()]

    def replace(self, providers: Iterable[Provider], routes: Iterable[Route] = ()) -> None:
        """Let calls that begin from now on find these providers and routes, and no others."""
        self._listed.clear()
        self._offers.replace(_Offer(providers, routes))

    @property
    def routes(self) -> Iterable[Route]:
        """The routes of the models that are configured here."""
        return self._offers.value.routes

    def find(self, model: str) -> Found:
        """How a call to `model` is answered: as configured under this name, or by the provider that the name begins with.

        Raises:
            ModelNotFound: there is no such model.
        """
        offer = self._offers.value
        return offer.known.get(model) or offer.find(model, self._named)

    def route(self, model: str) -> Route:
        """The route alone, as `find` finds it."""
        return self.find(model).route

    def served(self, model: str) -> Served:
        """The providers that may serve `model`. Raises ModelNotFound."""
        return self.find(model).served

    def resolve(self, model: str) -> tuple[Provider, str]:
        """The provider of `model`, and the model's name there, which may hold slashes.

        Raises:
            ModelNotFound: there is no such provider, or it does not offer the model.
        """
        return self._offers.value.resolve(model)

    def moderation_models(self) -> list[str]:
        """The models that a moderation which names none may mean: the default one of each provider that is known for one."""
        known = ((provider, provider.moderator.default_model) for provider in self._providers.values() if provider.moderator)
        return [f"{provider.name}/{model}" for provider, model in known if model and _is_offered(provider, model)]

    async def models(self) -> list[ServedModel]:
        """The models that are configured here, then those of all providers, in the order of the configuration.

        A provider that fails adds none.
        """
        lists = await asyncio.gather(*map(self._offered, self._providers.values()))
        ours = [ServedModel(route.model, OWNER) for route in self.routes]
        return [*ours, *(model for offered in lists for model in offered or ())]

    async def model(self, name: str) -> ServedModel:
        """One model.

        Raises:
            ModelNotFound: as `route`, or the provider lists its models without it.
        """
        route = self.route(name)
        if not route.direct:
            return ServedModel(name, OWNER)
        (target,) = route.targets
        provider = self._providers[target.provider]
        offered = await self._offered(provider)
        if offered is None:
            # It may well be there: asking it for an answer would be tried, too.
            return ServedModel(target.name, provider.name)
        for model in offered:
            if model.id == target.name:
                return model
        raise ModelNotFound(name)

    async def _offered(self, provider: Provider) -> list[ServedModel] | None:
        listed = await self._list(provider) if provider.models is None else provider.models
        if listed is None:
            return None
        return [ServedModel(f"{provider.name}/{model.id}", provider.name, model.created, model.description) for model in listed]

    async def _list(self, provider: Provider) -> Sequence[ModelInfo] | None:
        asked, listed = self._listed.get(provider, (0.0, None))
        if listed is not None and self._clock() - asked < FRESH_SECONDS:
            return listed
        try:
            async with asyncio.timeout(LIST_SECONDS):
                found = await provider.dialect.list_models()
        except (ServiceError, TimeoutError):
            return listed
        self._listed[provider] = self._clock(), found
        return found


def _is_offered(provider: Provider, model: str) -> bool:
    return provider.models is None or any(model == offered.id for offered in provider.models)
