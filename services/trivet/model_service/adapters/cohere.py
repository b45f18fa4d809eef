"""Cohere: chat by its form of OpenAI's API, embeddings and reranking by its own."""

from dataclasses import replace
from typing import Any, Final

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.extra_parameters import with_extra
from trivet.model_service.adapters.openai_chat import Body, OpenAIChat
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.vectors import read_vector, refuse_other_numbers
from trivet.model_service.domain.embeddings import EmbeddingAnswer, EmbeddingRequest
from trivet.model_service.domain.ports import ModelInfo

CHAT_PATH: Final = "compatibility/v1"
"""Where OpenAI's API is, below the base URL."""

RERANK_PATH: Final = "v2/rerank"

_MODELS: Final = "v1/models?page_size=1000"
_NOT_THERE: Final = (
    *("store", "metadata", "logit_bias", "top_logprobs", "n", "modalities", "prediction", "audio", "service_tier"),
    "parallel_tool_calls",
)
_OTHER_WORDS: Final = ("images", "inputs", "output_dimension")
"""Parameters of its own that this request says otherwise, or has no place for."""

_SAYS_NOTHING: Final[dict[str, object]] = {"n": 1, "parallel_tool_calls": True, "store": False}


class CohereChat(OpenAIChat):
    """The `Dialect`: `chat` speaks to OpenAI's form of its API, `http` to Cohere's own."""

    def __init__(self, chat: UpstreamHttp, http: UpstreamHttp) -> None:
        super().__init__(chat, adapt=refuse_what_it_ignores)
        self._own = http

    async def list_models(self) -> list[ModelInfo]:
        """See `Dialect.list_models`."""
        listed = (await self._own.get_json(_MODELS)).get("models")
        if not isinstance(listed, list):
            raise self._own.invalid("listed its models in an unknown form")
        named = (model.get("name") for model in listed if isinstance(model, dict))
        return [ModelInfo(name) for name in named if isinstance(name, str)]

    async def aclose(self) -> None:
        """See `Dialect.aclose`."""
        await super().aclose()
        await self._own.aclose()


def refuse_what_it_ignores(body: Body) -> Body:
    """The body of a chat completion. Raises UnsupportedParameter for what Cohere would take no notice of."""
    for name in _NOT_THERE:
        if body.get(name) is not None and body[name] != _SAYS_NOTHING.get(name):
            raise UnsupportedParameter(f"This model's provider cannot be asked for `{name}`.", name)
    return {name: value for name, value in body.items() if name not in _NOT_THERE}


class CohereEmbeddings:
    """An `Embedder` over one provider."""

    def __init__(self, http: UpstreamHttp) -> None:
        self._http = http

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        """See `Embedder.embed`. Texts are documents that will be searched, unless the parameter `input_type` says otherwise."""
        refuse_other_numbers(request)
        if request.user:
            raise UnsupportedParameter("This model's provider cannot be asked for `user`.", "user")
        body: dict[str, Any] = {"model": request.model, "texts": request.texts(), "embedding_types": ["base64"]}
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        if "input_type" not in request.extra:
            body["input_type"] = "search_document"
        extra = {name: raw for name, raw in request.extra.items() if name != "embedding_types"}
        answer = await self._http.post_json("v2/embed", with_extra(body, replace(request, extra=extra), _OTHER_WORDS))
        vectors = _object(answer.get("embeddings")).get("base64")
        if not isinstance(vectors, list):
            raise self._http.invalid("answered without embeddings")
        tokens = _object(_object(answer.get("meta")).get("billed_units")).get("input_tokens")
        return EmbeddingAnswer(
            tuple(read_vector(self._http, vector) for vector in vectors), int(tokens) if isinstance(tokens, int | float) else 0
        )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
