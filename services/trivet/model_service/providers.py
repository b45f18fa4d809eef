"""Opens the providers of the configuration: of each type, its dialect over a client of its own."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from types import MappingProxyType

from trivet.model_service.adapters import anthropic, cohere, gemini
from trivet.model_service.adapters.azure import azure_paths
from trivet.model_service.adapters.bedrock import Bedrock
from trivet.model_service.adapters.bedrock_auth import AwsKeys, AwsSigner, hosts_of
from trivet.model_service.adapters.chat_flavors import AZURE, OPENAI, ChatFlavor, flavor_of
from trivet.model_service.adapters.gemini_embeddings import BATCH as EMBEDDED_AT_ONCE
from trivet.model_service.adapters.gemini_embeddings import GeminiEmbeddings
from trivet.model_service.adapters.openai_audio import OpenAIAudio
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_embeddings import OpenAIEmbeddings
from trivet.model_service.adapters.openai_moderations import OpenAIModerations
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.rerank import Rerank
from trivet.model_service.adapters.upstream_answer import UpstreamLimits
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Authorize, Endpoint, Locate, Sign, as_named, bearer, key_header
from trivet.model_service.domain.batched_embedder import BatchedEmbedder, BatchLimits
from trivet.model_service.domain.embeddings import Embedder
from trivet.model_service.domain.ports import Dialect, ModelInfo
from trivet.model_service.domain.registry import Provider
from trivet.model_service.settings import AwsSettings, ProviderSettings


def open_provider(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    """The provider of these settings; its connections are closed with `stack`."""
    return _OPENERS[settings.type](settings, stack)


def _open_chat(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    http = _openai(settings)
    return _with_openai_apis(
        _provider(settings, OpenAIChat(http, _flavor(settings), merge_text=settings.merge_text), stack), settings, http
    )


def _open_responses(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    http = _openai(settings)
    return _with_openai_apis(_provider(settings, OpenAIResponses(http), stack), settings, http)


def _with_openai_apis(provider: Provider, settings: ProviderSettings, http: UpstreamHttp) -> Provider:
    """The provider with what else servers of OpenAI's API may have; whether this one has it, it says itself."""
    is_openai = _flavor(settings) in (OPENAI, AZURE)
    limits = BatchLimits(2048, 300_000) if is_openai else BatchLimits(256)
    audio = OpenAIAudio(http)
    return replace(
        provider,
        embedder=_batched(settings, OpenAIEmbeddings(http, settings.embeddings.encoding_format), limits),
        reranker=None if is_openai else Rerank(http),
        moderator=OpenAIModerations(http, "omni-moderation-latest" if is_openai else ""),
        transcriber=audio,
        speaker=audio,
    )


def _open_cohere(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    base_url = settings.base_url or "https://api.cohere.com"
    http = _http(settings.model_copy(update={"base_url": base_url}))
    chat = _http(settings.model_copy(update={"base_url": f"{base_url}/{cohere.CHAT_PATH}"}))
    return replace(
        _provider(settings, cohere.CohereChat(chat, http), stack),
        embedder=_batched(settings, cohere.CohereEmbeddings(http), BatchLimits(96)),
        reranker=Rerank(http, cohere.RERANK_PATH, limits_documents=True),
    )


def _open_gemini(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    at = settings.model_copy(update={"base_url": settings.base_url or gemini.BASE_URL})
    http = _http(at, authorize=gemini.authorize)
    # At Vertex AI, models stand below their publisher, and embeddings have an API of another form.
    vertex = "/publishers/" in (at.base_url or "")
    embedder = None if vertex else _batched(settings, GeminiEmbeddings(http), BatchLimits(EMBEDDED_AT_ONCE))
    return replace(_provider(settings, gemini.Gemini(http, vertex=vertex), stack), embedder=embedder)


def _open_anthropic(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    at = settings.model_copy(update={"base_url": settings.base_url or anthropic.BASE_URL})
    return _provider(settings, anthropic.Anthropic(_http(at, authorize=anthropic.authorize)), stack)


def _open_bedrock(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    aws = settings.aws
    assert aws is not None, "the settings say so"
    runtime, control = (settings.base_url, settings.base_url) if settings.base_url else hosts_of(aws.region)
    if settings.api_key is not None:
        return _provider(settings, Bedrock(_http(settings, at=runtime), _http(settings, at=control)), stack)
    signer = AwsSigner(settings.name, aws.region, _keys(aws))

    def signed(url: str) -> UpstreamHttp:
        return _http(settings, lambda: signer.endpoint(url), sign=signer.sign)

    return _provider(settings, Bedrock(signed(runtime), signed(control)), stack)


def _open_local(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    # Only a process that runs it needs its runtime.
    from trivet.model_service.adapters.local.model import MODELS, LocalModel
    from trivet.model_service.adapters.local.requests import adapt

    model = LocalModel()
    stack.push_async_callback(model.aclose)

    async def endpoint() -> Endpoint:
        return Endpoint(*await model.endpoint())

    # llama.cpp closes after each stream, a moment later; a call that meets that would fail.
    dialect = OpenAIChat(_http(settings, endpoint, headers={"Connection": "close"}), adapt=adapt)
    stack.push_async_callback(dialect.aclose)
    offered = (ModelInfo(name, description=what) for name, what in MODELS.items())
    return Provider(settings.name, dialect, tuple(offered), type=settings.type)


_OPENERS: dict[str, Callable[[ProviderSettings, AsyncExitStack], Provider]] = {
    "openai-chat": _open_chat,
    "openai-responses": _open_responses,
    "anthropic": _open_anthropic,
    "gemini": _open_gemini,
    "cohere": _open_cohere,
    "bedrock": _open_bedrock,
    "local": _open_local,
}


def _provider(settings: ProviderSettings, dialect: Dialect, stack: AsyncExitStack) -> Provider:
    stack.push_async_callback(dialect.aclose)
    offered = None if settings.offered is None else tuple(map(ModelInfo, settings.offered))
    return Provider(settings.name, dialect, offered, settings.native_mcp, settings.type)


def _batched(settings: ProviderSettings, embedder: Embedder, limits: BatchLimits) -> Embedder:
    """The embedder of a provider within its limits, which are `limits` where nothing is configured."""
    asked = settings.embeddings
    inputs, tokens = asked.max_batch or limits.inputs, asked.max_batch_tokens or limits.tokens
    return BatchedEmbedder(settings.name, embedder, BatchLimits(inputs, tokens, asked.parallel))


def _keys(aws: AwsSettings) -> AwsKeys | None:
    if aws.access_key_id is None or aws.secret_access_key is None:
        return None
    token = aws.session_token.get_secret_value() if aws.session_token else ""
    return AwsKeys(aws.access_key_id, aws.secret_access_key.get_secret_value(), token)


def _flavor(settings: ProviderSettings) -> ChatFlavor:
    return flavor_of(settings.flavor, settings.base_url or "")


def _openai(settings: ProviderSettings) -> UpstreamHttp:
    """A client of OpenAI's API, or of Azure's form of it."""
    if _flavor(settings) is not AZURE:
        return _http(settings)
    return _http(settings, authorize=key_header("api-key"), locate=azure_paths(settings.base_url or "", settings.api_version))


def _http(
    settings: ProviderSettings,
    located: Callable[[], Awaitable[Endpoint]] | None = None,
    *,
    at: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
    authorize: Authorize = bearer,
    sign: Sign | None = None,
    locate: Locate = as_named,
) -> UpstreamHttp:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    timeouts = settings.timeouts
    return UpstreamHttp(
        settings.name,
        located or Endpoint(at or settings.base_url or "", key),
        headers={**headers, **{name: value.get_secret_value() for name, value in settings.headers.items()}},
        limits=UpstreamLimits(timeouts.connect_seconds, timeouts.read_seconds, timeouts.total_seconds),
        authorize=authorize,
        sign=sign,
        locate=locate,
    )
