"""The service over upstreams that give one answer, without a connection."""

from collections.abc import AsyncGenerator
from typing import Any, cast

import orjson

from tests.model.bedrock import eventstream
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import ServiceError
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_errors import UpstreamErrors
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.store import Store
from trivet.model_service.domain.turn import TextDelta, TextRun, TurnEvent
from trivet.model_service.server import compose
from trivet.model_service.servicer import ModelServicer
from trivet.model_service.settings import ModelSettings


class Answering:
    """Stands for `UpstreamHttp` and gives one answer, whole or in events."""

    def __init__(self, whole: dict[str, Any], events: list[dict[str, Any]], *, done: bool = True) -> None:
        """`done`: a stream ends with `[DONE]`."""
        self._done = done
        self._whole = whole
        self._events = events
        self._errors = UpstreamErrors("p", ())

    async def post_json(self, _path: str, _body: Any) -> Any:
        return orjson.loads(orjson.dumps(self._whole))

    async def post_stream(self, _path: str, _body: Any, **_options: Any) -> AsyncGenerator[list[SseEvent]]:
        for event in self._events:
            yield [SseEvent("", orjson.dumps(event))]
        if self._done:
            yield [SseEvent("", b"[DONE]")]

    async def stream(self, path: str, body: Any, **options: Any) -> "_Events":
        return _Events([batch async for batch in self.post_stream(path, body, **options)])

    async def stream_bytes(self, _path: str, _body: Any, **_options: Any) -> AsyncGenerator[bytes]:
        for named in self._events:
            for name, body in named.items():
                yield eventstream.event(name, **body)

    def error(self, error: object) -> ServiceError:
        return self._errors.from_object(error)

    def invalid(self, what: str) -> ServiceError:
        return self._errors.invalid(what)


class _Events:
    """Stands for `UpstreamEvents`."""

    def __init__(self, batches: list[list[SseEvent]]) -> None:
        self._batches = batches
        self.ended = not batches

    def __enter__(self) -> "_Events":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def offer(self, _taker: object) -> None:
        """Nothing comes before it is read."""

    async def read(self) -> bytes:
        return b""

    def of(self, _data: bytes) -> list[SseEvent]:
        batch = self._batches.pop(0)
        self.ended = not self._batches
        return batch

    async def settle(self) -> None:
        """There is no connection."""


def servicer(http: Answering) -> ModelServicer:
    """The service with this upstream as its providers `chat` and `responses`."""
    upstream = cast("UpstreamHttp", http)
    providers = [Provider("chat", OpenAIChat(upstream)), Provider("responses", OpenAIResponses(upstream))]
    return unkept(Registry(providers))


def unkept(registry: Registry) -> ModelServicer:
    """The service over these providers, without a store: a request has to say `store: false`."""
    service = compose(ModelSettings(), registry, AddressGuard(), cast("Store", None))
    # Usage goes to the store, too; and some who call this have no loop that could write it later.
    service.usage_recorder.finished = lambda _: None  # type: ignore[method-assign]
    return service.models


def to_chat(provider: str) -> CreateChatCompletionRequest:
    return codec_for(CreateChatCompletionRequest).decode(
        {
            "model": f"{provider}/m",
            "messages": [{"role": "user", "content": "hi"}],
            "stream_options": {"include_usage": True},
        }
    )


def to_responses(provider: str) -> CreateResponseRequest:
    return codec_for(CreateResponseRequest).decode(
        {"model": f"{provider}/m", "input": "hi", "store": False, "include": ["reasoning.encrypted_content"]}
    )


def singles(batch: list[TurnEvent]) -> list[TurnEvent]:
    """The events with each text of a run by itself."""
    return [one for event in batch for one in (map(TextDelta, event.texts) if isinstance(event, TextRun) else (event,))]
