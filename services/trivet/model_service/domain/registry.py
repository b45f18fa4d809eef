"""Which models there are, and which provider serves each."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a configuration offers: all that a call looks up by the name of a model."""

    providers: Mapping[str, Provider]
    routes: Mapping[str, Route]


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
        self._offers = Versions(_offer(providers, routes), left)
        self._named = named
        self._clock = clock
        self._listed: dict[Provider, tuple[float, Sequence[ModelInfo]]] = {}

    @property
    def _providers(self) -> Mapping[str, Provider]:
        """Those of the running call."""
        return self._offers.value.providers

    @property
    def _routes(self) -> Mapping[str, Route]:
        """Likewise."""
        return self._offers.value.routes

    @property
    def in_use(self) -> list[Provider]:
        """The providers, and those that were replaced and are still held by calls; one may be there twice."""
        return [provider for offer in self._offers.alive for provider in offer.providers.values()]

    def replace(self, providers: Iterable[Provider], routes: Iterable[Route] = ()) -> None:
        """Let calls that begin from now on find these providers and routes, and no others."""
        self._listed.clear()
        self._offers.replace(_offer(providers, routes))

    @property
    def routes(self) -> Iterable[Route]:
        """The routes of the models that are configured here."""
        return self._routes.values()

    def provider(self, name: str) -> Provider:
        """The provider of this name, which has to be there."""
        return self._providers[name]

    def route(self, model: str) -> Route:
        """How a call to `model` is answered: as configured under this name, or by the provider that the name begins with.

        Raises:
            ModelNotFound: there is no such model.
        """
        if (route := self._routes.get(model)) is not None:
            return route
        full = model if "/" in model else f"{self._named()}/{model}"
        try:
            provider, upstream = self.resolve(full)
        except ModelNotFound:
            raise ModelNotFound(model) from None
        return Route(model, (RouteTarget(provider.name, upstream),), direct=True)

    def served(self, model: str) -> list[tuple[Provider, str]]:
        """The providers that may serve `model`, each with its name there, as they are configured. Raises ModelNotFound."""
        return [(self._providers[target.provider], target.model) for target in self.route(model).targets]

    def resolve(self, model: str) -> tuple[Provider, str]:
        """The provider of `model`, and the model's name there, which may hold slashes.

        Raises:
            ModelNotFound: there is no such provider, or it does not offer the model.
        """
        name, slash, upstream = model.partition("/")
        provider = self._providers.get(name)
        if provider is None or not slash or not upstream:
            raise ModelNotFound(model)
        if not _is_offered(provider, upstream):
            raise ModelNotFound(model)
        return provider, upstream

    def moderation_models(self) -> list[str]:
        """The models that a moderation which names none may mean: the default one of each provider that is known for one."""
        known = ((provider, provider.moderator.default_model) for provider in self._providers.values() if provider.moderator)
        return [f"{provider.name}/{model}" for provider, model in known if model and _is_offered(provider, model)]

    async def models(self) -> list[ServedModel]:
        """The models that are configured here, then those of all providers, in the order of the configuration.

        A provider that fails adds none.
        """
        lists = await asyncio.gather(*map(self._offered, self._providers.values()))
        ours = [ServedModel(name, OWNER) for name in self._routes]
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


def _offer(providers: Iterable[Provider], routes: Iterable[Route]) -> _Offer:
    return _Offer({provider.name: provider for provider in providers}, {route.model: route for route in routes})
