"""Opens the providers of the configuration: of each type, its dialect over a client of its own."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from urllib.parse import urlsplit

from trivet.model_service.adapters.openai_audio import OpenAIAudio
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_chat_request import COMPATIBLE, OPENAI, ChatFlavor
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.upstream_http import Endpoint, UpstreamHttp, UpstreamLimits
from trivet.model_service.domain.ports import Dialect, ModelInfo
from trivet.model_service.domain.registry import Provider
from trivet.model_service.settings import ProviderSettings

_OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com")


def open_provider(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    """The provider of these settings; its connections are closed with `stack`."""
    return _OPENERS[settings.type](settings, stack)


def _open_chat(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    http = _http(settings)
    return _with_openai_apis(_provider(settings, OpenAIChat(http, flavor_of(settings)), stack), http)


def _open_responses(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    http = _http(settings)
    return _with_openai_apis(_provider(settings, OpenAIResponses(http), stack), http)


def _with_openai_apis(provider: Provider, http: UpstreamHttp) -> Provider:
    """The provider with what else servers of OpenAI's API may have; whether this one has it, it says itself."""
    audio = OpenAIAudio(http)
    return replace(provider, transcriber=audio, speaker=audio)


def _open_local(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    # Only a process that runs it needs its runtime.
    from trivet.model_service.adapters.local.model import MODELS, LocalModel
    from trivet.model_service.adapters.local.requests import adapt

    model = LocalModel()
    stack.push_async_callback(model.aclose)

    async def endpoint() -> Endpoint:
        return Endpoint(*await model.endpoint())

    dialect = OpenAIChat(_http(settings, endpoint), adapt=adapt)
    stack.push_async_callback(dialect.aclose)
    offered = (ModelInfo(name, description=what) for name, what in MODELS.items())
    return Provider(settings.name, dialect, tuple(offered))


_OPENERS: dict[str, Callable[[ProviderSettings, AsyncExitStack], Provider]] = {
    "openai-chat": _open_chat,
    "openai-responses": _open_responses,
    "local": _open_local,
}


def _provider(settings: ProviderSettings, dialect: Dialect, stack: AsyncExitStack) -> Provider:
    stack.push_async_callback(dialect.aclose)
    offered = None if settings.models is None else tuple(map(ModelInfo, settings.models))
    return Provider(settings.name, dialect, offered, settings.native_mcp)


def _http(settings: ProviderSettings, located: Callable[[], Awaitable[Endpoint]] | None = None) -> UpstreamHttp:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    timeouts = settings.timeouts
    return UpstreamHttp(
        settings.name,
        located or Endpoint(settings.base_url or "", key),
        headers={name: value.get_secret_value() for name, value in settings.headers.items()},
        limits=UpstreamLimits(timeouts.connect_seconds, timeouts.read_seconds, timeouts.total_seconds),
    )


def flavor_of(settings: ProviderSettings) -> ChatFlavor:
    """The words in which a chat provider is spoken to: as configured, or else by its address."""
    host = urlsplit(settings.base_url or "").hostname or ""
    given = settings.flavor or ("openai" if host.endswith(_OPENAI_HOSTS) else "compatible")
    return OPENAI if given == "openai" else COMPATIBLE
