"""What ModelService needs of a provider that ranks documents: the port, what it is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """Which documents to rank, and by what. `extra`: parameters that no field stands for, each as JSON text."""

    model: str
    """Its name at the provider."""

    query: str
    documents: tuple[str, ...]
    top_n: int | None = None
    """How many of the best are wanted. None: all."""

    max_tokens_per_doc: int | None = None
    """How many tokens of each document are looked at. None: as the provider does."""

    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document, by its index in the request, and how relevant it is; greater is better, and only that is common to all models."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class RerankAnswer:
    """Documents in any order, and what they cost: `search_units` and `tokens` are None where the provider does not tell.

    `id` is the provider's ("" if it has none); `meta`: what else it tells of the call, each as JSON text.
    """

    ranked: tuple[Ranked, ...]
    id: str = ""
    search_units: float | None = None
    tokens: int | None = None
    meta: Mapping[str, str] = field(default_factory=dict)


class Reranker(Protocol):
    """A provider's reranking models."""

    async def rerank(self, request: RerankRequest) -> RerankAnswer:
        """The documents with their scores; fewer where `top_n` says so.

        Raises:
            UnsupportedParameter: the provider has no way to say what `request` asks, or no reranking at all.
            UpstreamRejected, UpstreamFailed, UpstreamTimeout, RateLimited, Overloaded: as everywhere.
        """
        ...
