"""Embeddings of OpenAI's API, which most servers have."""

from typing import Any, Final, Literal

from trivet.model_service.adapters.extra_parameters import with_extra
from trivet.model_service.adapters.missing_api import said_if_missing
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.vectors import read_vector, refuse_other_numbers
from trivet.model_service.domain.embeddings import EmbeddingAnswer, EmbeddingRequest, Vector

_PATH: Final = "embeddings"


class OpenAIEmbeddings:
    """An `Embedder` over one provider.

    `encoding` is what it is asked for, whatever the caller gets: base64 is a quarter of the bytes and a tenth of the work. A server
    that does not know it answers with numbers all the same.
    """

    def __init__(self, http: UpstreamHttp, encoding: Literal["base64", "float"] = "base64") -> None:
        self._http = http
        self._encoding = encoding

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        """See `Embedder.embed`."""
        refuse_other_numbers(request)
        body: dict[str, Any] = {"model": request.model, "input": request.inputs, "encoding_format": self._encoding}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.user:
            body["user"] = request.user
        with said_if_missing("embeddings"):
            answer = await self._http.post_json(_PATH, with_extra(body, request, ()))
        if answer.get("error"):
            raise self._http.error(answer["error"])
        return EmbeddingAnswer(self._vectors(answer.get("data")), tokens_of(answer.get("usage")))

    def _vectors(self, data: object) -> tuple[Vector, ...]:
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise self._http.invalid("answered without embeddings")
        places = [item.get("index", place) for place, item in enumerate(data)]
        if not all(isinstance(place, int) for place in places) or set(places) != set(range(len(data))):
            raise self._http.invalid("numbered its embeddings wrongly")
        by_place = dict(zip(places, data, strict=True))
        return tuple(read_vector(self._http, by_place[place].get("embedding")) for place in range(len(data)))


def tokens_of(usage: object) -> int:
    """The tokens of an input, as a server of this API tells them; 0 if it does not."""
    told = [usage.get(key) for key in ("prompt_tokens", "total_tokens")] if isinstance(usage, dict) else []
    return next((tokens for tokens in told if isinstance(tokens, int)), 0)
