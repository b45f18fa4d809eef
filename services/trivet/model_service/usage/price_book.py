"""Which price counts for a call: the one that the operator configured, else the public one."""

from collections.abc import Sequence
from decimal import Decimal
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from trivet.model_service.domain.calls import CallRecord
from trivet.model_service.domain.prices import FREE, Price, PriceList, Rate
from trivet.model_service.settings import PriceSettings, ProviderSettings

_LISTS: Final = {"anthropic": "anthropic", "gemini": "google", "bedrock": "aws", "cohere": "cohere"}
"""Whose prices count for providers of these types when no URL says where they are."""

_NOBODYS: Final = "none"
_SOUND: Final = "audio."
_COUNTING: Final = ".count_tokens"


class PriceBook:
    """The prices of the models of these providers."""

    def __init__(self, providers: Sequence[ProviderSettings], public: PriceList) -> None:
        self._public = public
        self.apply(providers)

    def apply(self, providers: Sequence[ProviderSettings]) -> None:
        """Price what is priced from now on by other settings."""
        self._lists = {provider.name: listed for provider in providers if (listed := _list_of(provider))}
        self._free = {provider.name for provider in providers if provider.type == "local"}
        self._own = {
            (provider.name, model.name): _price(model.price)
            for provider in providers
            for model in provider.models or ()
            if model.price is not None
        }

    async def ready(self, calls: Sequence[CallRecord]) -> None:
        """Load the public prices, if any of these calls has one."""
        if self._lists and any(self._is_public(call) for call in calls):
            await self._public.ready()

    def cost(self, call: CallRecord) -> Decimal | None:
        """What a call costs, in dollars; None if that is not known. It is of the last target: what others took is not told."""
        price = self._price_of(call)
        return None if price is None or (call.usage is None and call.status >= 400) else price.cost(call.usage)

    def _price_of(self, call: CallRecord) -> Price | None:
        if call.provider in self._free or call.operation.endswith(_COUNTING):
            return FREE
        own = self._own.get((call.provider, call.upstream_model))
        if own is not None or call.provider not in self._lists or not self._is_public(call):
            return own
        return self._public.find(self._lists[call.provider], call.upstream_model, call.started)

    def _is_public(self, call: CallRecord) -> bool:
        # Sounds have prices by minutes, characters, or tokens of their own, and our usage has none of these.
        listed = call.provider in self._lists and call.usage is not None
        return listed and not call.operation.startswith(_SOUND) and (call.provider, call.upstream_model) not in self._own


def _list_of(provider: ProviderSettings) -> str:
    """By what the public prices know a provider; "" if they don't."""
    named = provider.price_list or provider.base_url or _LISTS.get(provider.type, "")
    return "" if named == _NOBODYS or _is_nearby(named) else named


def _is_nearby(named: str) -> bool:
    """Whether this is the URL of a server that nobody else can have: then no list need be loaded, which takes 30 MB."""
    try:
        host = urlsplit(named).hostname or ""
        return bool(host) and ("." not in host or bool(ip_address(host)))
    except ValueError:
        return False


def _price(told: PriceSettings) -> Price:
    return Price(
        input=_rate(told.input_per_million),
        output=_rate(told.output_per_million),
        cache_read=_rate(told.cache_read_per_million),
        cache_write=_rate(told.cache_write_per_million),
        per_request=told.per_request,
    )


def _rate(dollars: Decimal | None) -> Rate | None:
    return None if dollars is None else Rate(dollars)
