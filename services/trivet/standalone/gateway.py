"""Puts the services and the bridge together: all of them in one process, or one of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

import grpc

from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.auth import KeyRing
from trivet.kernel.call import Interceptor
from trivet.kernel.chain import standard_interceptors
from trivet.kernel.client import connect
from trivet.kernel.interceptors.validation import validation
from trivet.kernel.server import CannotListen, Server
from trivet.standalone.config import Config, UsageError
from trivet.standalone.failures import CommandFailed
from trivet.standalone.parts import CALLS, COMPANIONS, DISPENSABLE, FULL_NAMES, SERVICES, Part, Service

Channels = dict[Service, grpc.aio.Channel]

# What may be asked again when no answer came; nothing else is.
_IDEMPOTENT: dict[str, tuple[str, ...]] = {
    "trivet.model.v1.ModelService": ("ListModels", "GetModel", "GetResponse", "FollowResponse", "ListInputItems"),
    "trivet.model.v1.ConversationService": ("GetConversation", "ListConversationItems", "GetConversationItem"),
    "trivet.tool.v1.ToolService": ("ListServers", "ListTools"),
}


class Background(Protocol):
    """What a service does by itself, whether or not anybody calls it."""

    def working(self) -> AbstractAsyncContextManager[None]:
        """It works while this is entered."""
        ...

    async def hand_over(self) -> None:
        """Begin nothing more, and leave to others what can be left; it has begun to stop before this first waits."""
        ...


class Gateway:
    """What runs in this process; `open_gateway` makes it. `http` is the address of the bridge, "" where there is none."""

    def __init__(self, server: Server | None, http: str, bridge: AsyncExitStack, background: Sequence[Background] = ()) -> None:
        self._server = server
        self._bridge = bridge
        self._background = background
        self.http = http

    @property
    def grpc(self) -> str:
        """The address of the gRPC port, with the port that was taken; "" where there is none."""
        return self._server.address if self._server else ""

    async def stop(self, grace: float) -> None:
        """Take no more calls, give the running ones `grace` seconds, then cancel them; work in the background is handed over."""
        handing_over = [work.hand_over() for work in self._background]
        server = [self._server.stop(grace)] if self._server else []
        await asyncio.gather(*handing_over, self._bridge.aclose(), *server)


@asynccontextmanager
async def open_gateway(config: Config, part: Part = "all") -> AsyncIterator[Gateway]:
    """Everything that `part` names, listening; what still runs at the end of the block is cancelled.

    Raises:
        CommandFailed: an address is in use, or not ours.
        UsageError: the part calls a service whose address the configuration does not tell.
    """
    async with AsyncExitStack() as stack:
        server = Server(config.server, _interceptors(config)) if SERVICES[part] else None
        channels: Channels = {}
        for called in _called(part, config):
            local = server if called in SERVICES[part] else None
            channels[called] = local.channel if local else await stack.enter_async_context(_connect(called, config))
        background: list[Background] = []
        if server:
            works = [await _OPENERS[service](config, server, channels, stack) for service in SERVICES[part]]
            await _listening(server)
            stack.push_async_callback(server.stop, 0)
            # Work begins when all that it calls can be called, and ends before that is told to stop.
            background += [work for work in works if work is not None]
            for work in background:
                await stack.enter_async_context(work.working())
        # Apart from the rest, because it is stopped together with the server and not after it.
        bridge = await stack.enter_async_context(AsyncExitStack())
        http = await _open_bridge(config, channels, bridge) if part in ("all", "bridge") else ""
        yield Gateway(server, http, bridge, background)


def _interceptors(config: Config) -> tuple[Interceptor, ...]:
    return (*standard_interceptors(config.server, KeyRing(config.auth)), validation)


async def _listening(server: Server) -> None:
    try:
        await server.start()
    except CannotListen as error:
        raise CommandFailed(str(error)) from error


def _called(part: Part, config: Config) -> list[Service]:
    return [
        service for service in CALLS[part] if (part, service) not in DISPENSABLE or getattr(config.services, service) is not None
    ]


def _connect(service: Service, config: Config) -> grpc.aio.Channel:
    address: str | None = getattr(config.services, service)
    if address is None:
        raise UsageError(f"`services.{service}` is missing from the configuration: where does that service listen?")
    idempotent = [f"{name}/{method}" for name in _full_names(service) for method in _IDEMPOTENT.get(name, ())]
    return connect(address, idempotent=idempotent, max_message_bytes=config.server.max_message_bytes)


def _full_names(service: Service) -> tuple[str, ...]:
    """All that is called over the channel to a service."""
    return FULL_NAMES[service], *COMPANIONS[service]


# A process imports the services that it runs, and no others: the bridge needs no MCP, a tool server no model runtime.


async def _open_model(config: Config, server: Server, channels: Channels, stack: AsyncExitStack) -> Background:
    from trivet.model.v1.audio_service_pb2_grpc import add_AudioServiceServicer_to_server
    from trivet.model.v1.conversation_service_pb2_grpc import add_ConversationServiceServicer_to_server
    from trivet.model.v1.message_service_pb2_grpc import add_MessageServiceServicer_to_server
    from trivet.model.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
    from trivet.model_service.server import open_model_service
    from trivet.model_service.settings import CannotOpenStore

    guard = AddressGuard(allow_private=config.security.allow_private_networks)
    opened = open_model_service(config, guard=guard, tools=channels.get("tool"))
    try:
        service = await stack.enter_async_context(opened)
    except CannotOpenStore as error:
        raise CommandFailed(str(error)) from error
    server.add(add_ModelServiceServicer_to_server, service.models)
    server.add(add_ConversationServiceServicer_to_server, service.conversations)
    server.add(add_MessageServiceServicer_to_server, service.messages)
    server.add(add_AudioServiceServicer_to_server, service.audio)
    return service.runs


async def _open_tool(config: Config, server: Server, channels: Channels, stack: AsyncExitStack) -> None:
    from trivet.tool.v1.tool_service_pb2_grpc import add_ToolServiceServicer_to_server
    from trivet.tool_service.server import open_tool_service

    server.add(add_ToolServiceServicer_to_server, await stack.enter_async_context(open_tool_service(config)))


async def _open_agent(config: Config, server: Server, channels: Channels, stack: AsyncExitStack) -> None:
    from trivet.agent.v1.agent_service_pb2_grpc import add_AgentServiceServicer_to_server
    from trivet.agent_service.server import open_agent_service

    opened = open_agent_service(config.agent, channels["model"], channels["tool"])
    server.add(add_AgentServiceServicer_to_server, await stack.enter_async_context(opened))


_OPENERS = {"model": _open_model, "tool": _open_tool, "agent": _open_agent}


async def _open_bridge(config: Config, channels: Channels, stack: AsyncExitStack) -> str:
    from trivet.bridge.server import open_bridge

    named = {name: channel for service, channel in channels.items() for name in _full_names(service)}
    try:
        bridge = await stack.enter_async_context(open_bridge(config.bridge, config.server, named, KeyRing(config.auth)))
    except OSError as error:
        raise CommandFailed(f"cannot listen on {config.server.http}: {error.strerror or error}") from error
    return bridge.address
