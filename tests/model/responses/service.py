"""ModelService and its conversations over a store in a file, asked as JSON by two callers, over upstreams that are scripted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.upstreams.scripted import ScriptedUpstream
from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import ServiceError
from trivet.kernel.interceptors.validation import validation
from trivet.kernel.settings import AuthSettings
from trivet.kernel.testing import Transport, serving
from trivet.model.v1 import conversation_pb2, response_context_pb2, response_stored_pb2
from trivet.model.v1.conversation_service_pb2_grpc import ConversationServiceStub, add_ConversationServiceServicer_to_server
from trivet.model.v1.model_service_pb2_grpc import ModelServiceStub, add_ModelServiceServicer_to_server
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.ports import Dialect
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.store import Store
from trivet.model_service.server import ModelService, compose, open_model_service
from trivet.model_service.settings import ModelSettings

Json = dict[str, Any]

KEYS = AuthSettings.model_validate({"keys": [{"name": name, "key": f"sk-{name}-0123456789"} for name in ("alice", "bob")]})

_REQUESTS = {
    name: message
    for module in (conversation_pb2, response_stored_pb2, response_context_pb2)
    for name, message in vars(module).items()
    if name.endswith("Request")
}


class Caller:
    """Asks in the name of a key; requests and answers are JSON as over REST."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self._responses = ModelServiceStub(channel)
        self._conversations = ConversationServiceStub(channel)
        self._metadata = (("authorization", f"Bearer sk-{name}-0123456789"),)

    async def create(self, **body: Any) -> Json:
        """A response."""
        return as_json(await self._responses.CreateResponse(asking(**body), metadata=self._metadata))

    async def stream(self, **body: Any) -> list[Json]:
        """The events of a response, checked."""
        events = [event async for event in self.events(**body)]
        assert check_responses_stream(events) == []
        return events

    async def events(self, **body: Any) -> AsyncIterator[Json]:
        """The events as they come; leaving them leaves the stream."""
        call = self._responses.StreamResponse(asking(**body), metadata=self._metadata)
        try:
            async for batch in call:
                for event in batch.events:
                    yield as_json(event)
        finally:
            call.cancel()

    async def follow(self, response_id: str, **body: Any) -> list[Json]:
        """The events of a stored response."""
        request = codec_for(response_stored_pb2.GetResponseRequest).decode({"response_id": response_id, **body})
        call = self._responses.FollowResponse(request, metadata=self._metadata)
        return [as_json(event) async for batch in call for event in batch.events]

    async def ask(self, rpc: str, **body: Any) -> Json:
        """The answer of another RPC of one of both services."""
        stub = self._conversations if "Conversation" in rpc else self._responses
        request = codec_for(_REQUESTS[f"{rpc}Request"]).decode(body, strict=True)
        return as_json(await getattr(stub, rpc)(request, metadata=self._metadata))

    async def get(self, response_id: str) -> Json:
        """A stored response."""
        return await self.ask("GetResponse", response_id=response_id)

    async def texts(self, response_id: str) -> list[str]:
        """The texts of what a response was made from, the oldest first."""
        page = await self.ask("ListInputItems", response_id=response_id, order="asc", limit=100)
        return [text_of(item) for item in page["data"]]


def asking(**body: Any) -> CreateResponseRequest:
    request: CreateResponseRequest = codec_for(CreateResponseRequest).decode(
        {"model": "lab/m", "input": "hi", **body}, strict=True
    )
    return request


def as_json(message: Any) -> Json:
    found: Json = orjson.loads(codec_for(type(message)).dumps(message))
    return found


def text_of(item: Json) -> str:
    """What an item says; its type, if it is no message."""
    return "".join(part["text"] for part in item["content"]) if item["type"] == "message" else str(item["type"])


def said(text: str, role: str = "user") -> Json:
    return {"type": "message", "role": role, "content": text}


async def refused(call: Any) -> ServiceError:
    """The error with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


@asynccontextmanager
async def over(service: ModelService, transport: Transport = "in-process") -> AsyncIterator[tuple[Caller, Caller]]:
    """Two callers of a service, who know nothing of each other."""
    async with serving(_register, service, transport=transport, auth=KEYS, judges=[validation]) as channel:
        yield Caller(channel, "alice"), Caller(channel, "bob")


@asynccontextmanager
async def over_dialect(
    dialect: Dialect, store: Store, transport: Transport = "in-process"
) -> AsyncIterator[tuple[Caller, Caller]]:
    """Callers of the provider `lab`, which is this dialect; what streams left behind is ended before the store closes."""
    service = compose(ModelSettings(), Registry([Provider("lab", dialect)]), AddressGuard(), store)
    try:
        async with over(service, transport) as callers:
            yield callers
    finally:
        await service.aclose()


@asynccontextmanager
async def over_upstream(
    upstream: ScriptedUpstream, folder: Path, transport: Transport = "in-process"
) -> AsyncIterator[tuple[Caller, Caller]]:
    """Callers of the providers `lab`, which speaks chat completions, and `oai`, which speaks the Responses API."""
    types = {"lab": "openai-chat", "oai": "openai-responses"}
    settings = ModelSettings.model_validate(
        {
            "providers": [{"name": name, "type": kind, "base_url": upstream.base_url} for name, kind in types.items()],
            "store": {"url": f"sqlite:///{folder}/t.db"},
        }
    )
    async with open_model_service(settings) as service, over(service, transport) as callers:
        yield callers


def _register(service: ModelService, server: Any) -> None:
    add_ModelServiceServicer_to_server(service.models, server)
    add_ConversationServiceServicer_to_server(service.conversations, server)
