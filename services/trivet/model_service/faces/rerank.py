"""Reranking in Cohere's form: requests to the port's, and its scores to answers."""

import math
from typing import Any

import orjson

from trivet.kernel.errors import UpstreamFailed
from trivet.model.v1 import rerank_pb2 as pb
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.rerank import Ranked, RerankAnswer, RerankRequest
from trivet.model_service.faces.extra_parameters import extra_parameters


def parse(request: pb.RerankRequest, upstream_model: str) -> RerankRequest:
    """What to ask the provider."""
    return RerankRequest(
        upstream_model,
        request.query,
        tuple(_document(document).text for document in request.documents),
        top_n=request.top_n if request.HasField("top_n") else None,
        max_tokens_per_doc=request.max_tokens_per_doc if request.HasField("max_tokens_per_doc") else None,
        extra=extra_parameters(request),
    )


def render(request: pb.RerankRequest, answer: RerankAnswer, provider: str) -> pb.RerankResponse:
    """The answer to `request`. Raises UpstreamFailed for scores that are not those of its documents."""
    best = _best(request, answer.ranked, provider)
    return pb.RerankResponse(
        id=answer.id or new_id("rerank"),
        model=request.model,
        results=[_result(request, ranked) for ranked in best],
        meta=_meta(answer),
    )


def _best(request: pb.RerankRequest, ranked: tuple[Ranked, ...], provider: str) -> list[Ranked]:
    given = len(request.documents)
    wanted = min(request.top_n, given) if request.HasField("top_n") else given
    places = {one.index for one in ranked}
    sound = all(0 <= one.index < given and math.isfinite(one.score) for one in ranked)
    if not sound or len(places) < len(ranked) or len(ranked) < wanted:
        raise UpstreamFailed(f"The provider `{provider}` answered with scores that are not those of the documents.")
    # Not every server puts them into their order, or stops where it was told to.
    return sorted(ranked, key=lambda one: -one.score)[:wanted]


def _result(request: pb.RerankRequest, ranked: Ranked) -> pb.RerankResult:
    document = _document(request.documents[ranked.index]) if request.return_documents else None
    return pb.RerankResult(index=ranked.index, relevance_score=ranked.score, document=document)


def _document(given: pb.RerankDocument) -> pb.RerankTextDocument:
    return given.object if given.HasField("object") else pb.RerankTextDocument(text=given.text)


def _meta(answer: RerankAnswer) -> pb.RerankMeta:
    more: dict[str, Any] = {name: orjson.Fragment(raw) for name, raw in answer.meta.items()}
    meta = pb.RerankMeta(extra=orjson.dumps(more).decode() if more else "")
    if answer.search_units is not None:
        meta.billed_units.search_units = answer.search_units
    if answer.tokens is not None:
        meta.tokens.input_tokens = answer.tokens
    return meta
