"""Public prices, from the data that the package genai-prices brings along: the network is never asked for newer ones.

Its own calculation is not used, because it takes longer than everything else about a record; the tests hold ours against it.
"""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from trivet.model_service.domain.prices import Price, PriceList, Rate

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo

_MODELS_REMEMBERED: Final = 4096
"""Names come from callers, so not all that ever were asked for are remembered."""

_PER_THOUSAND: Final = 3


class PublicPrices(PriceList):
    """The prices of genai-prices. A provider is named by its id there, or by the URL of its API."""

    def __init__(self) -> None:
        self._snapshot: DataSnapshot | None = None
        self._loading = asyncio.Lock()
        self._model = lru_cache(_MODELS_REMEMBERED)(self._find)
        # With what is listed, by its identity: it can be compared, but not looked up.
        self._prices: dict[int, tuple[Any, Price]] = {}

    async def ready(self) -> None:
        """Load the package, in a thread: it has 1.6 MB of code, and takes half a second."""
        async with self._loading:
            if self._snapshot is None:
                self._snapshot = await asyncio.to_thread(_load)

    def find(self, provider: str, model: str, at: float) -> Price | None:
        found = self._model(provider, model) if self._snapshot is not None else None
        if found is None:
            return None
        # Prices change by the date, and some by the time of day.
        listed = found.get_prices(datetime.fromtimestamp(at, UTC))
        known = self._prices.get(id(listed))
        if known is None:
            if len(self._prices) >= _MODELS_REMEMBERED:
                self._prices.clear()
            known = self._prices[id(listed)] = listed, _price(listed)
        return known[1]

    def _find(self, provider: str, model: str) -> "ModelInfo | None":
        assert self._snapshot is not None
        by_url = "://" in provider
        try:
            found = self._snapshot.find_provider(None, None if by_url else provider, provider if by_url else None)
        except LookupError:
            return None
        return found.find_model(model, all_providers=self._snapshot.providers)


def _load() -> "DataSnapshot":
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


def _price(listed: Any) -> Price:
    """A price of ours. What is charged apart, for sounds, pictures and searches, is not in it: our usage does not tell them apart."""
    per_thousand = listed.requests_kcount
    return Price(
        input=_rate(listed.input_mtok),
        output=_rate(listed.output_mtok),
        cache_read=_rate(listed.cache_read_mtok),
        cache_write=_rate(listed.cache_write_mtok),
        per_request=None if per_thousand is None else per_thousand.scaleb(-_PER_THOUSAND),
    )


def _rate(listed: Any) -> Rate | None:
    if listed is None:
        return None
    if isinstance(listed, Decimal):
        return Rate(listed)
    return Rate(listed.base, tuple((tier.start, tier.price) for tier in listed.tiers))
