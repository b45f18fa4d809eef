"""MessageService's RPCs."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import orjson

from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.call import current_call
from trivet.kernel.errors import UnsupportedParameter
from trivet.model.v1 import message_service_pb2 as pb
from trivet.model.v1 import message_service_pb2_grpc
from trivet.model_service.faces.native import NativeMessages, is_native_messages
from trivet.model_service.routing.router import Router, Target

_BETA = "x-trivet-header-anthropic-beta"


class MessageServicer(message_service_pb2_grpc.MessageServiceServicer):
    """Serves the models whose providers speak the Messages API. `guard` judges the URLs that requests hand to them."""

    def __init__(self, router: Router, guard: AddressGuard) -> None:
        self._router = router
        self._guard = guard

    async def CreateMessage(self, request: pb.CreateMessageRequest, context: Any) -> pb.CreatedMessage:
        """The whole message."""
        await self._vet(request.extra)

        async def asking(target: Target) -> pb.CreatedMessage:
            return await _native(target).create_message(target.fitted(request), target.model, _beta())

        return await self._router.ask("messages", request.model, asking)

    async def StreamMessage(self, request: pb.CreateMessageRequest, context: Any) -> AsyncGenerator[pb.MessageEventBatch]:
        """The message, event by event."""
        await self._vet(request.extra)

        def asking(target: Target) -> AsyncGenerator[pb.MessageEventBatch]:
            return _native(target).stream_message(target.fitted(request), target.model, _beta())

        async with aclosing(self._router.stream("messages", request.model, asking)) as batches:
            async for batch in batches:
                yield batch

    async def CountMessageTokens(self, request: pb.CountMessageTokensRequest, context: Any) -> pb.MessageTokenCount:
        """How many tokens a request would bring."""
        await self._vet(request.extra)

        async def asking(target: Target) -> pb.MessageTokenCount:
            return await _native(target).count_message_tokens(target.fitted(request), target.model, _beta())

        return await self._router.ask("messages.count_tokens", request.model, asking)

    async def _vet(self, parameters: str) -> None:
        for url, param in _fetched(orjson.loads(parameters or "{}"), ""):
            await self._guard.vet_for_others(url, param)


def _native(target: Target) -> NativeMessages:
    dialect = target.provider.dialect
    if not is_native_messages(dialect):
        raise UnsupportedParameter("This model's provider does not speak the Messages API: ask by `/responses`.", "model")
    return dialect


def _beta() -> str:
    call = current_call.get()
    return str(call.metadata.get(_BETA, "")) if call is not None else ""


def _fetched(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The URLs that the provider fetches, and where they stand: sources and MCP servers, which say that they are URLs.

    What a model wrote as the input of a tool is no such thing, whatever is in it.
    """
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _fetched(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        if value.get("type") == "url" and isinstance(value.get("url"), str):
            yield value["url"], f"{path}.url"
        for key, item in value.items():
            if not (key == "input" and value.get("type") in {"tool_use", "server_tool_use"}):
                yield from _fetched(item, f"{path}.{key}" if path else key)
