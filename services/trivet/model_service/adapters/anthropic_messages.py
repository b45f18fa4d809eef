"""The Messages API as it is, for callers who speak it themselves: nothing is translated, and only the model's name is ours."""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Final

import orjson

from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.message_service_pb2 import (
    CountMessageTokensRequest,
    CreatedMessage,
    CreateMessageRequest,
    MessageEvent,
    MessageEventBatch,
    MessageTokenCount,
    MessageTokens,
)
from trivet.model_service.adapters.anthropic_events import told_usage
from trivet.model_service.adapters.reading import Json, as_its_api_says, json_event, read_batch
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_http import UpstreamHttp, is_done

PATH: Final = "messages"
_LAST: Final = re.compile(rb'"type":\s*"message_stop"')


class AnthropicMessages:
    """A `NativeMessages` over one provider."""

    def __init__(self, http: UpstreamHttp) -> None:
        self._http = http

    async def create_message(self, request: CreateMessageRequest, upstream_model: str, beta: str) -> CreatedMessage:
        """See `NativeMessages.create_message`."""
        answer = await self._message(_body(request, upstream_model), _headers(beta))
        with as_its_api_says(self._http):
            message: CreatedMessage = codec_for(CreatedMessage).decode(answer)
            tokens = _tokens(answer.get("usage") or {})
        if tokens is not None:
            message.tokens.CopyFrom(tokens)
        message.model = request.model
        return message

    async def stream_message(
        self, request: CreateMessageRequest, upstream_model: str, beta: str
    ) -> AsyncGenerator[MessageEventBatch]:
        """See `NativeMessages.stream_message`."""
        body = _body(request, upstream_model) | {"stream": True}
        reader = _EventReader(self._http, request.model)
        stream = self._http.post_stream(PATH, body, is_last=is_last, whole="content", headers=_headers(beta))
        async with aclosing(stream) as batches:
            async for batch in batches:
                given = (self.event(event) for event in batch if event.data and not is_done(event))
                events, error = read_batch(self._http, reader.read, given)
                if events:
                    yield MessageEventBatch(events=events, tokens=reader.tokens)
                if error is not None:
                    raise error
        if not reader.ended:
            raise self._http.invalid("ended its stream early")

    async def count_message_tokens(self, request: CountMessageTokensRequest, upstream_model: str, beta: str) -> MessageTokenCount:
        """See `NativeMessages.count_message_tokens`."""
        answer = await self._object(f"{PATH}/count_tokens", _body(request, upstream_model), _headers(beta))
        with as_its_api_says(self._http):
            return codec_for(MessageTokenCount).decode(answer)

    async def _message(self, body: Json, headers: Mapping[str, str]) -> Json:
        answer = await self._object(PATH, body, headers)
        if "content" not in answer:
            raise self._http.invalid("answered without a message")
        return answer

    async def _object(self, path: str, body: Json, headers: Mapping[str, str]) -> Json:
        answer = await self._http.post_json(path, body, headers=headers)
        if answer.get("error"):
            raise self._http.error(answer["error"])
        return answer

    def event(self, event: SseEvent) -> Json:
        """The JSON of an event, which has a `type` then. Raises UpstreamFailed."""
        parsed = json_event(self._http, event)
        if "type" not in parsed:
            # What has no type is named by its event line, or is the bare error of a proxy in between.
            parsed["type"] = event.event or ("error" if parsed.get("error") else "")
        return parsed


class _EventReader:
    """Reads the events of one stream; `tokens` is what they have said of tokens so far."""

    def __init__(self, http: UpstreamHttp, model: str) -> None:
        self._http = http
        self._model = model
        self._counts: Json = {}
        self.tokens: MessageTokens | None = None
        self.ended = False

    def read(self, event: Json) -> Iterator[MessageEvent]:
        """The event as it goes on to the caller. Raises what an `error` stands for."""
        if event["type"] == "error":
            raise self._http.error(event.get("error"))
        decoded: MessageEvent = codec_for(MessageEvent).decode(event)
        if decoded.HasField("message_start"):
            decoded.message_start.message.model = self._model
        self.ended = self.ended or event["type"] == "message_stop"
        if counts := event.get("usage") or (event.get("message") or {}).get("usage"):
            self._counts |= {name: count for name, count in counts.items() if count is not None}
            self.tokens = _tokens(self._counts)
        yield decoded


def is_last(event: SseEvent) -> bool:
    """Whether this is the event that ends a stream of the Messages API."""
    return event.event == "message_stop" or is_done(event) or _LAST.search(event.data) is not None


def _tokens(counts: Json) -> MessageTokens | None:
    usage = told_usage(counts)
    if usage is None:
        return None
    return MessageTokens(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def _body(request: CreateMessageRequest | CountMessageTokensRequest, upstream_model: str) -> Json:
    body: Json = orjson.loads(request.extra) if request.extra else {}
    return body | {"model": upstream_model}


def _headers(beta: str) -> dict[str, str]:
    return {"anthropic-beta": beta} if beta else {}
