"""Reranking in the form that Cohere gave it, and Jina, vLLM, llama.cpp and others took over."""

from typing import Any

import orjson

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.extra_parameters import with_extra
from trivet.model_service.adapters.missing_api import said_if_missing
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.domain.rerank import Ranked, RerankAnswer, RerankRequest


class Rerank:
    """A `Reranker` over one provider, at a path below its base URL.

    `limits_documents`: whether it knows `max_tokens_per_doc`; the others take no notice of it.
    """

    def __init__(self, http: UpstreamHttp, path: str = "rerank", *, limits_documents: bool = False) -> None:
        self._http = http
        self._path = path
        self._limits_documents = limits_documents

    async def rerank(self, request: RerankRequest) -> RerankAnswer:
        """See `Reranker.rerank`."""
        body: dict[str, Any] = {"model": request.model, "query": request.query, "documents": request.documents}
        if request.top_n is not None:
            body["top_n"] = request.top_n
        if request.max_tokens_per_doc is not None:
            if not self._limits_documents:
                raise UnsupportedParameter(
                    "This model's provider cannot be asked for `max_tokens_per_doc`.", "max_tokens_per_doc"
                )
            body["max_tokens_per_doc"] = request.max_tokens_per_doc
        with said_if_missing("reranking"):
            answer = await self._http.post_json(self._path, with_extra(body, request, ()))
        if answer.get("error"):
            raise self._http.error(answer["error"])
        return self._read(answer)

    def _read(self, answer: dict[str, Any]) -> RerankAnswer:
        results = answer.get("results")
        if not isinstance(results, list):
            raise self._http.invalid("answered without results")
        meta = dict(_object(answer.get("meta")))
        billed, tokens, usage = (
            _object(found) for found in (meta.pop("billed_units", 0), meta.pop("tokens", 0), answer.get("usage"))
        )
        counted = (tokens.get("input_tokens"), usage.get("prompt_tokens"), usage.get("total_tokens"))
        return RerankAnswer(
            tuple(self._ranked(result) for result in results),
            id=answer["id"] if isinstance(answer.get("id"), str) else "",
            search_units=_number(billed.get("search_units")),
            tokens=next((int(count) for count in map(_number, counted) if count is not None), None),
            meta={name: orjson.dumps(value).decode() for name, value in meta.items()},
        )

    def _ranked(self, result: object) -> Ranked:
        index, score = _object(result).get("index"), _object(result).get("relevance_score")
        if not isinstance(index, int) or not isinstance(score, int | float):
            raise self._http.invalid("answered with a result that has no index or no score")
        return Ranked(index, float(score))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None
