"""Embeddings of the Gemini API."""

from typing import Any, Final

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.extra_parameters import with_extra
from trivet.model_service.adapters.gemini import method_path
from trivet.model_service.adapters.reading import as_its_api_says
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.vectors import read_vector, refuse_other_numbers
from trivet.model_service.domain.embeddings import EmbeddingAnswer, EmbeddingRequest

BATCH: Final = 100
"""The most texts that it takes in one call."""

_OTHER_WORDS: Final = ("requests", "outputDimensionality")
"""Parameters of its own that this request says otherwise."""


class GeminiEmbeddings:
    """An `Embedder` over one provider."""

    def __init__(self, http: UpstreamHttp) -> None:
        self._http = http

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        """See `Embedder.embed`. Parameters of its own, `taskType` say, hold for every text."""
        refuse_other_numbers(request)
        if request.user:
            raise UnsupportedParameter("This model's provider cannot be asked for `user`.", "user")
        common: dict[str, Any] = {"model": f"models/{request.model}", "content": None}
        if request.dimensions is not None:
            common["outputDimensionality"] = request.dimensions
        common = with_extra(common, request, _OTHER_WORDS)
        asked = [common | {"content": {"parts": [{"text": text}]}} for text in request.texts()]
        answer = await self._http.post_json(method_path(request.model, "batchEmbedContents"), {"requests": asked})
        if answer.get("error"):
            raise self._http.error(answer["error"])
        with as_its_api_says(self._http):
            vectors = tuple(read_vector(self._http, one.get("values")) for one in answer["embeddings"])
            tokens = int((answer.get("usageMetadata") or {}).get("promptTokenCount") or 0)
        return EmbeddingAnswer(vectors, tokens)
