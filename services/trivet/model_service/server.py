"""The composition root of ModelService."""

import secrets
import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import grpc

from trivet.kernel.address_guard import AddressGuard
from trivet.model_service.adapters.public_prices import PublicPrices
from trivet.model_service.adapters.store.sql_store import open_store
from trivet.model_service.adapters.tokenizer import LocalTokenizer
from trivet.model_service.audio_servicer import AudioServicer
from trivet.model_service.conversation_servicer import ConversationServicer
from trivet.model_service.domain.registry import Registry
from trivet.model_service.domain.store import Store
from trivet.model_service.message_servicer import MessageServicer
from trivet.model_service.open_providers import OpenProviders, open_providers
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
from trivet.model_service.routing.options import named_provider
from trivet.model_service.routing.router import Router
from trivet.model_service.servicer import ModelServicer
from trivet.model_service.settings import ModelSettings
from trivet.model_service.single_calls import SingleCalls
from trivet.model_service.usage.price_book import PriceBook
from trivet.model_service.usage.recording import UsageRecorder
from trivet.model_service.usage_servicer import UsageServicer
from trivet.tool.v1.tool_service_pb2_grpc import ToolServiceStub


@dataclass(frozen=True, slots=True)
class ModelService:
    """The services of a model process. `runs` is its background, which works while its `working` is entered.

    `providers` are open where the service has opened them itself.
    """

    models: ModelServicer
    conversations: ConversationServicer
    messages: MessageServicer
    audio: AudioServicer
    usage: UsageServicer
    runs: Runs
    recorder: Recorder
    router: Router
    usage_recorder: UsageRecorder
    prices: PriceBook
    providers: OpenProviders = field(default_factory=OpenProviders)

    async def aclose(self) -> None:
        """Have in the store what is to be kept, of responses that were left and of calls."""
        await self.recorder.aclose()
        await self.usage_recorder.aclose()

    def prepare(self, settings: ModelSettings, admins: Collection[str], undo: AsyncExitStack) -> Callable[[], None]:
        """Make other settings ready, as far as they can change while it runs; what comes back puts them in force in one step.

        Without that, `undo` closes what was opened for them. Raises what opening a provider raises.
        """
        switch = self.providers.prepare(settings, undo)

        def apply() -> None:
            switch()
            self.router.apply()
            self.prices.apply(settings.providers)
            self.usage.apply(admins)

        return apply


@asynccontextmanager
async def open_model_service(
    settings: ModelSettings,
    *,
    guard: AddressGuard | None = None,
    tools: grpc.aio.Channel | None = None,
    admins: Collection[str] = (),
) -> AsyncIterator[ModelService]:
    """The services over connections of their own; they, the store and the embedded model's process end with the context.

    `guard` judges the URLs that requests hand to providers; without one, only public addresses are let through. `tools` is a
    channel to ToolService, which stays the caller's to close; without one, requests with MCP tools are refused. `admins` are the
    names of the keys that see the usage of all.

    Raises:
        CannotOpenStore: the store cannot be used.
    """
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings.store, settings.usage))
        providers = await stack.enter_async_context(open_providers(settings, named_provider))
        service = compose(settings, providers.registry, guard or AddressGuard(), store, tools=tools, admins=admins)
        stack.push_async_callback(service.aclose)
        yield replace(service, providers=providers)


def compose(
    settings: ModelSettings,
    registry: Registry,
    guard: AddressGuard,
    store: Store,
    *,
    tools: grpc.aio.Channel | None = None,
    admins: Collection[str] = (),
) -> ModelService:
    """The services over what is open already."""
    runner = f"{socket.gethostname()}-{secrets.token_hex(8)}"
    tokenizer = LocalTokenizer()
    announcements = Announcements()
    prices = PriceBook(settings.providers, PublicPrices())
    usage_recorder = UsageRecorder(store, prices, settings.usage.max_waiting)
    router = Router(registry, [usage_recorder] if settings.usage.record else [])
    turns = ManagedTurns(registry, router, guard, tokenizer=tokenizer)
    maker = ResponseMaker(turns, McpTools(ToolServiceStub(tools)) if tools is not None else None)
    planner = Planner(turns, store)
    recorder = Recorder(store, announcements, runner)
    follower = Follower(store, announcements)
    runs = Runs(store, planner, maker, announcements, settings.background, keeping=settings.store, runner=runner)
    models = ModelServicer(
        registry,
        router,
        turns,
        creation=Creation(turns, planner, maker, recorder=recorder, runs=runs, follower=follower),
        stored=StoredResponses(store, announcements),
        follower=follower,
        background=runs,
        contexts=Contexts(planner, InputTokens(registry, turns, tokenizer), turns.compactor),
        single=SingleCalls(registry, router, turns),
    )
    return ModelService(
        models,
        ConversationServicer(Conversations(store)),
        MessageServicer(router, guard),
        AudioServicer(router, turns.vet),
        UsageServicer(store, usage_recorder, admins),
        runs=runs,
        recorder=recorder,
        router=router,
        usage_recorder=usage_recorder,
        prices=prices,
    )
