"""The composition root of ModelService."""

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc

from trivet.kernel.address_guard import AddressGuard
from trivet.model_service.adapters.store.sql_store import open_store
from trivet.model_service.adapters.tokenizer import LocalTokenizer
from trivet.model_service.audio_servicer import AudioServicer
from trivet.model_service.conversation_servicer import ConversationServicer
from trivet.model_service.domain.registry import Registry
from trivet.model_service.domain.store import Store
from trivet.model_service.message_servicer import MessageServicer
from trivet.model_service.providers import open_provider
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
from trivet.model_service.routing.router import Router
from trivet.model_service.servicer import ModelServicer
from trivet.model_service.settings import ModelSettings
from trivet.tool.v1.tool_service_pb2_grpc import ToolServiceStub


@dataclass(frozen=True, slots=True)
class ModelService:
    """The services of a model process. `runs` is its background, which works while its `working` is entered."""

    models: ModelServicer
    conversations: ConversationServicer
    messages: MessageServicer
    audio: AudioServicer
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
        providers = [open_provider(provider, stack) for provider in settings.providers]
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
    router = Router(registry)
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
        runs=runs,
        contexts=Contexts(planner, InputTokens(registry, turns, tokenizer), turns.compactor),
    )
    return ModelService(
        models=models,
        conversations=ConversationServicer(Conversations(store)),
        messages=MessageServicer(router, guard),
        audio=AudioServicer(router),
        runs=runs,
        recorder=recorder,
    )
