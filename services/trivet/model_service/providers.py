"""Opens the providers of the configuration: of each type, its dialect over a client of its own."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from trivet.model_service.adapters.azure import azure_paths
from trivet.model_service.adapters.bedrock import Bedrock
from trivet.model_service.adapters.bedrock_auth import AwsKeys, AwsSigner, hosts_of
from trivet.model_service.adapters.chat_flavors import AZURE, ChatFlavor, flavor_of
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.upstream_http import (
    Authorize,
    Endpoint,
    Locate,
    UpstreamHttp,
    UpstreamLimits,
    as_named,
    bearer,
    key_header,
)
from trivet.model_service.domain.ports import Dialect, ModelInfo
from trivet.model_service.domain.registry import Provider
from trivet.model_service.settings import AwsSettings, ProviderSettings


def open_provider(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    """The provider of these settings; its connections are closed with `stack`."""
    return _OPENERS[settings.type](settings, stack)


def _open_chat(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    return _provider(settings, OpenAIChat(_openai(settings), _flavor(settings)), stack)


def _open_responses(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    return _provider(settings, OpenAIResponses(_openai(settings)), stack)


def _open_bedrock(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    aws = settings.aws
    assert aws is not None, "the settings say so"
    runtime, control = (settings.base_url, settings.base_url) if settings.base_url else hosts_of(aws.region)
    if settings.api_key is not None:
        return _provider(settings, Bedrock(_http(settings, at=runtime), _http(settings, at=control)), stack)
    signer = AwsSigner(settings.name, aws.region, _keys(aws))

    def signed(url: str) -> UpstreamHttp:
        return _http(settings, lambda: signer.endpoint(url), authorize=signer.authorize)

    return _provider(settings, Bedrock(signed(runtime), signed(control)), stack)


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
    "bedrock": _open_bedrock,
    "local": _open_local,
}


def _provider(settings: ProviderSettings, dialect: Dialect, stack: AsyncExitStack) -> Provider:
    stack.push_async_callback(dialect.aclose)
    offered = None if settings.models is None else tuple(map(ModelInfo, settings.models))
    return Provider(settings.name, dialect, offered, settings.native_mcp)


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
    authorize: Authorize = bearer,
    locate: Locate = as_named,
) -> UpstreamHttp:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    timeouts = settings.timeouts
    return UpstreamHttp(
        settings.name,
        located or Endpoint(at or settings.base_url or "", key),
        headers={name: value.get_secret_value() for name, value in settings.headers.items()},
        limits=UpstreamLimits(timeouts.connect_seconds, timeouts.read_seconds, timeouts.total_seconds),
        authorize=authorize,
        locate=locate,
    )
