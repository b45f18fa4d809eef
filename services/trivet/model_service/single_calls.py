"""What is asked of a model in one call that is no turn: embeddings, reranking, moderation."""

from typing import TypeVar

from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model.v1 import embedding_pb2, moderation_pb2, rerank_pb2
from trivet.model_service.domain.registry import Registry
from trivet.model_service.faces import embeddings, moderations, rerank
from trivet.model_service.routing.router import Router, Target
from trivet.model_service.turns import ModelTurns

T = TypeVar("T")


class SingleCalls:
    """Such calls of the models of a registry.

    Each raises ModelNotFound, InvalidRequest and what its port raises; UnsupportedParameter where a provider has no such models.
    """

    def __init__(self, registry: Registry, router: Router, turns: ModelTurns) -> None:
        self._registry = registry
        self._router = router
        self._turns = turns

    async def embed(self, request: embedding_pb2.CreateEmbeddingsRequest) -> embedding_pb2.EmbeddingList:
        """The vectors of the inputs. Raises AddressRefused, too: servers of other APIs are given what they know besides texts."""
        await self._turns.vet(request)

        async def asking(target: Target) -> embedding_pb2.EmbeddingList:
            embedder = _offered(target.provider.embedder, "embeddings")
            return embeddings.render(request, await embedder.embed(embeddings.parse(target.fitted(request), target.model)))

        return await self._router.ask("embeddings", request.model, asking)

    async def rerank(self, request: rerank_pb2.RerankRequest) -> rerank_pb2.RerankResponse:
        """The documents in the order of their relevance. Raises AddressRefused, too, as `embed` does."""
        await self._turns.vet(request)

        async def asking(target: Target) -> rerank_pb2.RerankResponse:
            reranker = _offered(target.provider.reranker, "reranking")
            answer = await reranker.rerank(rerank.parse(target.fitted(request), target.model))
            return rerank.render(request, answer, target.provider.name)

        return await self._router.ask("rerank", request.model, asking)

    async def moderate(self, request: moderation_pb2.CreateModerationRequest) -> moderation_pb2.CreateModerationResponse:
        """What the model thinks of the input. Raises AddressRefused, too."""
        model = request.model if request.HasField("model") else self._moderation_model()
        await self._turns.vet(request)

        async def asking(target: Target) -> moderation_pb2.CreateModerationResponse:
            moderator = _offered(target.provider.moderator, "moderation")
            answer = await moderator.moderate(moderations.parse(target.fitted(request), target.model))
            return moderations.render(request, model, answer, target.provider.name)

        return await self._router.ask("moderations", model, asking)

    def _moderation_model(self) -> str:
        known = self._registry.moderation_models()
        if len(known) != 1:
            found = "several providers are" if known else "no provider is"
            raise InvalidRequest(f"`model` is needed: {found} known for a moderation model.", "model")
        return known[0]


def _offered(port: T | None, what: str) -> T:
    if port is None:
        raise UnsupportedParameter(f"This model's provider has no {what}.", "model")
    return port
