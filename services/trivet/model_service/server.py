"""The composition root of ModelService."""

import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc

from trivet.kernel.address_guard import AddressGuard
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_chat_request import COMPATIBLE, OPENAI, ChatFlavor
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.store.sql_store import open_store
from trivet.model_service.adapters.tokenizer import LocalTokenizer
from trivet.model_service.adapters.upstream_http import Endpoint, UpstreamHttp, UpstreamLimits
from trivet.model_service.conversation_servicer import ConversationServicer
from trivet.model_service.domain.ports import Dialect, ModelInfo
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.store import Store
from trivet.model_service.responses.announcements import Announcements
from trivet.model_service.responses.background.follower import Follower
from trivet.model_service.responses.background.runs import Runs
from trivet.model_service.responses.creation import Creation
from trivet.model_service.responses.keeping.conversations import Conversations
from trivet.model_service.responses.keeping.recorder import Recorder
from trivet.model_service.responses.keeping.stored import StoredResponses
from trivet.model_service.responses.making import ResponseMaker
from trivet.model_service.responses.mcp.tools import McpTools
from trivet.model_service.responses.plan import Planner
from trivet.model_service.responses.turns.contexts import Contexts
from trivet.model_service.responses.turns.input_tokens import InputTokens
from trivet.model_service.responses.turns.managed_turns import ManagedTurns
from trivet.model_service.servicer import ModelServicer
from trivet.model_service.settings import ModelSettings, ProviderSettings
from trivet.tool.v1.tool_service_pb2_grpc import ToolServiceStub

_OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com")


@dataclass(frozen=True, slots=True)
class ModelService:
    """The services of a model process. `runs` is its background, which works while its `working` is entered."""

    models: ModelServicer
    conversations: ConversationServicer
    runs: Runs
    recorder: Recorder


@asynccontextmanager
async def open_model_service(
    settings: ModelSettings, *, guard: AddressGuard | None = None, tools: grpc.aio.Channel | None = None
) -> AsyncIterator[ModelService]:
    """The services over connections of their own; they, the store and the embedded model's process end with the context.

    `guard` judges the URLs that requests hand to providers; without one, only public addresses are let through. `tools` is a
    channel to ToolService, which stays the caller's to close; without one, requests with MCP tools are refused.

    Raises:
        CannotOpenStore: the store cannot be used.
    """
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings.store))
        providers = [_OPENERS[provider.type](provider, stack) for provider in settings.providers]
        service = compose(settings, Registry(providers), guard or AddressGuard(), store, tools)
        stack.push_async_callback(service.recorder.aclose)
        yield service


def compose(
    settings: ModelSettings, registry: Registry, guard: AddressGuard, store: Store, tools: grpc.aio.Channel | None = None
) -> ModelService:
    """The services over what is open already."""
    runner = f"{socket.gethostname()}-{secrets.token_hex(8)}"
    tokenizer = LocalTokenizer()
    announcements = Announcements()
    turns = ManagedTurns(registry, guard, tokenizer)
    maker = ResponseMaker(turns, McpTools(ToolServiceStub(tools)) if tools is not None else None)
    planner = Planner(turns, store)
    recorder = Recorder(store, announcements, runner)
    follower = Follower(store, announcements)
    runs = Runs(store, planner, maker, announcements, settings.background, keeping=settings.store, runner=runner)
    models = ModelServicer(
        registry,
        turns,
        creation=Creation(turns, planner, maker, recorder=recorder, runs=runs, follower=follower),
        stored=StoredResponses(store, announcements),
        follower=follower,
        runs=runs,
        contexts=Contexts(planner, InputTokens(registry, turns, tokenizer), turns.compactor),
    )
    return ModelService(models, ConversationServicer(Conversations(store)), runs, recorder)


def _open_chat(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    return _provider(settings, OpenAIChat(_http(settings), flavor_of(settings)), stack)


def _open_responses(settings: ProviderSettings, stack: AsyncExitStack) -> Provider:
    return _provider(settings, OpenAIResponses(_http(settings)), stack)


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
