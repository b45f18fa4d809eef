"""Puts the services and the bridge together: all of them in one process, or one of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import grpc

from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.auth import KeyRing
from trivet.kernel.client import connect
from trivet.kernel.interceptors.validation import validation
from trivet.kernel.server import CannotListen, Server
from trivet.standalone.config import Config, UsageError
from trivet.standalone.failures import CommandFailed
from trivet.standalone.parts import CALLS, COMPANIONS, DISPENSABLE, FULL_NAMES, SERVICES, Part, Service

if TYPE_CHECKING:
    from trivet.bridge.health import Told
    from trivet.bridge.server import Bridge

Channels = dict[Service, grpc.aio.Channel]

Prepare = Callable[[Config, AsyncExitStack], Callable[[], None]]
"""Makes another configuration ready; what comes back puts it in force. Without that, the stack closes what was opened."""

# What may be asked again when no answer came; nothing else is.
_IDEMPOTENT: dict[str, tuple[str, ...]] = {
    "trivet.model.v1.ModelService": ("ListModels", "GetModel", "GetResponse", "FollowResponse", "ListInputItems"),
    "trivet.model.v1.ConversationService": ("GetConversation", "ListConversationItems", "GetConversationItem"),
    "trivet.model.v1.UsageService": ("GetUsage", "ListUsageCalls"),
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


@dataclass(frozen=True, slots=True)
class _Opened:
    """A service that is open: how its configuration changes, and what it does by itself, if anything."""

    prepare: Prepare
    background: Background | None = None


class Gateway:
    """What runs in this process; `open_gateway` makes it. `http` is the address of the bridge, "" where there is none."""

    def __init__(self, server: Server | None, bridge: AsyncExitStack) -> None:
        self._server = server
        self._bridge = bridge
        self._background: list[Background] = []
        self._preparing: list[Prepare] = []
        self.http = ""

    @property
    def grpc(self) -> str:
        """The address of the gRPC port, with the port that was taken; "" where there is none."""
        return self._server.address if self._server else ""

    async def apply(self, config: Config) -> None:
        """Go on by another configuration, as far as it can change while calls run: by all of it, or as before.

        Running calls go on as they began. Raises what opening a provider raises.
        """
        async with AsyncExitStack() as undo:
            switches = [prepare(config, undo) for prepare in self._preparing]
            undo.pop_all()
        for switch in switches:
            switch()

    def add(self, opened: _Opened) -> None:
        """Take in a part that is open."""
        self._preparing.append(opened.prepare)
        if opened.background is not None:
            self._background.append(opened.background)

    async def work(self, stack: AsyncExitStack) -> None:
        """Do what there is to do unasked, until the stack is closed."""
        for work in self._background:
            await stack.enter_async_context(work.working())

    async def stop(self, grace: float) -> None:
        """Take no more calls, give the running ones `grace` seconds, then cancel them; work in the background is handed over."""
        handing_over = [work.hand_over() for work in self._background]
        server = [self._server.stop(grace)] if self._server else []
        await asyncio.gather(*handing_over, self._bridge.aclose(), *server)


@asynccontextmanager
async def open_gateway(config: Config, part: Part = "all", told: "Told | None" = None) -> AsyncIterator[Gateway]:
    """Everything that `part` names, listening; what still runs at the end of the block is cancelled.

    `told` is what readiness tells of the configuration.

    Raises:
        CommandFailed: an address is in use, or not ours.
        UsageError: the part calls a service whose address the configuration does not tell.
    """
    async with AsyncExitStack() as stack:
        keys = KeyRing(config.auth)
        server = Server(config.server, keys, [validation]) if SERVICES[part] else None
        channels: Channels = {}
        for called in _called(part, config):
            local = server if called in SERVICES[part] else None
            channels[called] = local.channel if local else await stack.enter_async_context(_connect(called, config))
        # Apart from the rest, because it is stopped together with the server and not after it.
        bridge = AsyncExitStack()
        gateway = Gateway(server, bridge)
        gateway.add(_Opened(lambda changed, _: partial(keys.apply, changed.auth)))
        if server:
            for service in SERVICES[part]:
                gateway.add(await _OPENERS[service](config, server, channels, stack))
            await _listening(server)
            stack.push_async_callback(server.stop, 0)
        await stack.enter_async_context(bridge)
        if part in ("all", "bridge"):
            opened = await _open_bridge(config, channels, keys, bridge, told)
            gateway.http = opened.address
            gateway.add(_Opened(lambda changed, _: partial(opened.apply, changed.bridge, _sticky_headers(changed))))
        # Work begins when all that it calls can be called, and ends before that is told to stop.
        await gateway.work(stack)
        yield gateway


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


async def _open_model(config: Config, server: Server, channels: Channels, stack: AsyncExitStack) -> _Opened:
    from trivet.model.v1.audio_service_pb2_grpc import add_AudioServiceServicer_to_server
    from trivet.model.v1.conversation_service_pb2_grpc import add_ConversationServiceServicer_to_server
    from trivet.model.v1.message_service_pb2_grpc import add_MessageServiceServicer_to_server
    from trivet.model.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
    from trivet.model.v1.usage_service_pb2_grpc import add_UsageServiceServicer_to_server
    from trivet.model_service.server import open_model_service
    from trivet.model_service.settings import CannotOpenStore

    guard = AddressGuard(allow_private=config.security.allow_private_networks)
    opening = open_model_service(config, guard=guard, tools=channels.get("tool"), admins=config.auth.admins)
    try:
        service = await stack.enter_async_context(opening)
    except CannotOpenStore as error:
        raise CommandFailed(str(error)) from error
    server.add(add_ModelServiceServicer_to_server, service.models)
    server.add(add_ConversationServiceServicer_to_server, service.conversations)
    server.add(add_MessageServiceServicer_to_server, service.messages)
    server.add(add_AudioServiceServicer_to_server, service.audio)
    server.add(add_UsageServiceServicer_to_server, service.usage)

    def prepare(changed: Config, undo: AsyncExitStack) -> Callable[[], None]:
        switch = service.prepare(changed, changed.auth.admins, undo)

        def apply() -> None:
            guard.allow_private = changed.security.allow_private_networks
            switch()

        return apply

    return _Opened(prepare, service.runs)


async def _open_tool(config: Config, server: Server, channels: Channels, stack: AsyncExitStack) -> _Opened:
    from trivet.tool.v1.tool_service_pb2_grpc import add_ToolServiceServicer_to_server
    from trivet.tool_service.server import open_tool_service

    service = await stack.enter_async_context(open_tool_service(config))
    server.add(add_ToolServiceServicer_to_server, service.tools)
    return _Opened(lambda changed, _: partial(service.apply, changed), service)


async def _open_agent(config: Config, server: Server, channels: Channels, stack: AsyncExitStack) -> _Opened:
    from trivet.agent.v1.agent_service_pb2_grpc import add_AgentServiceServicer_to_server
    from trivet.agent_service.server import open_agent_service

    service = await stack.enter_async_context(open_agent_service(config.agent, channels["model"], channels["tool"]))
    server.add(add_AgentServiceServicer_to_server, service)
    return _Opened(lambda changed, _: partial(service.apply, changed.agent))


_OPENERS = {"model": _open_model, "tool": _open_tool, "agent": _open_agent}


async def _open_bridge(config: Config, channels: Channels, keys: KeyRing, stack: AsyncExitStack, told: "Told | None") -> "Bridge":
    from trivet.bridge.server import open_bridge

    named = {name: channel for service, channel in channels.items() for name in _full_names(service)}
    try:
        opened = open_bridge(config.bridge, config.server, named, keys, told=told, passed=_sticky_headers(config))
        return await stack.enter_async_context(opened)
    except OSError as error:
        raise CommandFailed(f"cannot listen on {config.server.http}: {error.strerror or error}") from error


def _sticky_headers(config: Config) -> set[str]:
    """The headers by which calls are told apart that belong together."""
    return {model.route.sticky.header for model in config.models if model.route.sticky}
