"""The Messages API as it is, for callers who speak it themselves: nothing is translated, and only the model's name is ours."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import orjson

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest, ServiceError
from trivet.model.v1.message_service_pb2 import (
    CountMessageTokensRequest,
    CreatedMessage,
    CreateMessageRequest,
    MessageEvent,
    MessageEventBatch,
    MessageTokenCount,
)
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_http import UpstreamHttp

_PATH = "messages"

T = TypeVar("T", CreatedMessage, MessageTokenCount, MessageEvent)


class AnthropicMessages:
    """A `NativeMessages` over one provider."""

    def __init__(self, http: UpstreamHttp) -> None:
        self._http = http

    async def create_message(self, request: CreateMessageRequest, upstream_model: str, beta: str) -> CreatedMessage:
        """See `NativeMessages.create_message`."""
        answer = await self._http.post_json(_PATH, _body(request, upstream_model), headers=_headers(beta))
        if answer.get("type") == "error":
            raise self._http.error(answer.get("error"))
        message = self._decoded(CreatedMessage, answer)
        message.model = request.model
        return message

    async def stream_message(
        self, request: CreateMessageRequest, upstream_model: str, beta: str
    ) -> AsyncGenerator[MessageEventBatch]:
        """See `NativeMessages.stream_message`."""
        body = _body(request, upstream_model) | {"stream": True}
        ended = False
        stream = self._http.post_stream(_PATH, body, is_last=is_last, whole="content", headers=_headers(beta))
        async with aclosing(stream) as batches:
            async for batch in batches:
                told, error = self._read(batch, request.model)
                if told.events:
                    yield told
                if error is not None:
                    raise error
                ended = ended or any(map(is_last, batch))
        if not ended:
            raise self._http.invalid("ended its stream early")

    async def count_message_tokens(self, request: CountMessageTokensRequest, upstream_model: str, beta: str) -> MessageTokenCount:
        """See `NativeMessages.count_message_tokens`."""
        answer = await self._http.post_json(f"{_PATH}/count_tokens", _body(request, upstream_model), headers=_headers(beta))
        return self._decoded(MessageTokenCount, answer)

    def _read(self, batch: list[SseEvent], model: str) -> tuple[MessageEventBatch, ServiceError | None]:
        """The events of a batch up to the first fault in it, and that fault: what came before it still goes out."""
        told = MessageEventBatch()
        try:
            for sent in filter(lambda event: event.data, batch):
                event = self._event(sent)
                if event.HasField("message_start"):
                    event.message_start.message.model = model
                told.events.append(event)
        except ServiceError as error:
            return told, error
        return told, None

    def _event(self, sent: SseEvent) -> MessageEvent:
        try:
            event = orjson.loads(sent.data)
        except orjson.JSONDecodeError as error:
            raise self._http.invalid("sent an event that is not JSON") from error
        if not isinstance(event, dict):
            raise self._http.invalid("sent an event that is not a JSON object")
        if event.get("type") == "error":
            raise self._http.error(event.get("error"))
        return self._decoded(MessageEvent, event)

    def _decoded(self, message_class: type[T], answer: Mapping[str, Any]) -> T:
        try:
            return codec_for(message_class).decode(answer)
        except InvalidRequest as error:
            raise self._http.invalid(f"broke its API at `{error.param}`") from error


def is_last(event: SseEvent) -> bool:
    """Whether this is the event that ends a stream of the Messages API."""
    return event.event == "message_stop" or b'"message_stop"' in event.data


def _body(request: CreateMessageRequest | CountMessageTokensRequest, upstream_model: str) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(request.extra) if request.extra else {}
    return body | {"model": upstream_model}


def _headers(beta: str) -> dict[str, str]:
    return {"anthropic-beta": beta} if beta else {}
