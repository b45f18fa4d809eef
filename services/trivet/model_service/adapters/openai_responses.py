"""The Responses dialect: OpenAI itself, and every other server with that API."""

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import ServiceError, UpstreamRejected
from trivet.model.v1.response_context_pb2 import CompactedResponse, CompactResponseRequest, CountInputTokensRequest
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.missing_api import is_missing
from trivet.model_service.adapters.openai_models import list_models
from trivet.model_service.adapters.openai_responses_events import TurnReader
from trivet.model_service.adapters.openai_responses_native import NativeResponse, NativeStream
from trivet.model_service.adapters.openai_responses_request import responses_body, without_seals
from trivet.model_service.adapters.reading import Json, as_its_api_says, json_event, read_batch
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_http import UpstreamHttp, is_done
from trivet.model_service.domain.ports import ModelInfo
from trivet.model_service.domain.turn import TurnEvent, TurnRequest
from trivet.model_service.faces.responses import Ending
from trivet.model_service.faces.responses_render import ResponseRenderer
from trivet.model_service.faces.responses_tools import namespaced

_PATH: Final = "responses"
_LAST: Final = re.compile(rb'"type":\s*"response\.(completed|incomplete|failed)"')

_COUNTED: Final = frozenset(CountInputTokensRequest.DESCRIPTOR.fields_by_name)
_COMPACTED: Final = frozenset(CompactResponseRequest.DESCRIPTOR.fields_by_name)
"""What those APIs have of a request."""


class OpenAIResponses:
    """A `Dialect`, a `NativeResponses` and a `NativeContext` over one provider."""

    def __init__(self, http: UpstreamHttp) -> None:
        self._http = http

    # ---- Dialect ---------------------------------------------------------------------------------------------------

    async def turn(self, request: TurnRequest) -> AsyncGenerator[list[TurnEvent]]:
        """See `Dialect.turn`."""
        body = responses_body(request)
        reader = TurnReader(self._http.error)
        if not request.stream:
            answer = await self._answer(body)
            with as_its_api_says(self._http):
                events = list(reader.read_whole(answer))
            yield events
            return
        async with aclosing(self._events(body)) as batches:
            async for batch in batches:
                events, error = read_batch(self._http, reader.read, batch)
                if events:
                    yield events
                if error:
                    raise error
        if not reader.finished:
            raise self._http.invalid("ended its stream early")

    async def list_models(self) -> list[ModelInfo]:
        """See `Dialect.list_models`."""
        return await list_models(self._http)

    async def aclose(self) -> None:
        """See `Dialect.aclose`."""
        await self._http.aclose()

    # ---- NativeResponses -------------------------------------------------------------------------------------------

    async def create_response(self, request: CreateResponseRequest, upstream_model: str, told: Response) -> Response:
        """See `NativeResponses.create_response`."""
        answer = await self._answer(_native_body(request, upstream_model, stream=False))
        with as_its_api_says(self._http):
            return NativeResponse(told).read(answer)

    async def stream_response(
        self, request: CreateResponseRequest, upstream_model: str, told: Response, ending: Ending
    ) -> AsyncGenerator[ResponseEventBatch]:
        """See `NativeResponses.stream_response`."""
        stream: NativeStream | AnewStream | None = None
        try:
            async with aclosing(self._events(_native_body(request, upstream_model, stream=True))) as batches:
                async for batch in batches:
                    if stream is None:
                        stream = self._stream_of(batch, request, told)
                        ending.fail = stream.fail
                    events, error = stream.read_batch(self._http, batch)
                    if events:
                        yield ResponseEventBatch(events=events)
                    if error:
                        raise error
            if stream is None or not stream.finished:
                raise self._http.invalid("ended its stream early")
        except ServiceError:
            # Whatever broke after the end of the response: it is whole.
            if stream is None or not stream.finished:
                raise

    # ---- NativeContext ---------------------------------------------------------------------------------------------

    async def count_input_tokens(self, request: CreateResponseRequest, upstream_model: str) -> int | None:
        """See `NativeContext.count_input_tokens`."""
        answer = await self._context("responses/input_tokens", request, upstream_model, _COUNTED)
        if answer is None:
            return None
        if not isinstance(answer.get("input_tokens"), int):
            raise self._http.invalid("counted tokens in an unknown form")
        return int(answer["input_tokens"])

    async def compact_response(self, request: CreateResponseRequest, upstream_model: str) -> CompactedResponse | None:
        """See `NativeContext.compact_response`."""
        answer = await self._context("responses/compact", request, upstream_model, _COMPACTED)
        if answer is None:
            return None
        with as_its_api_says(self._http):
            return codec_for(CompactedResponse).decode(answer)

    async def _context(self, path: str, request: CreateResponseRequest, model: str, keys: frozenset[str]) -> Json | None:
        """What a server answers that has such a path; None if this one has not."""
        body: Json = without_seals(codec_for(CreateResponseRequest).encode(request))
        try:
            return await self._http.post_json(path, {key: body[key] for key in keys if key in body} | {"model": model})
        except UpstreamRejected as error:
            if not is_missing(error):
                raise
            return None

    def _stream_of(self, batch: list[Json], request: CreateResponseRequest, told: Response) -> "NativeStream | AnewStream":
        """What passes on a stream that begins so.

        An upstream that neither numbers its events nor begins with a whole response (llama.cpp) leaves out where items
        belong and mixes them, too. One that begins with the end has told nothing of the items.
        """
        begins = batch[0]["type"] not in {"response.completed", "response.incomplete"} if batch else True
        if begins and any("sequence_number" in event or "output" in (event.get("response") or {}) for event in batch):
            return NativeStream(NativeResponse(told), self._http.error)
        return AnewStream(ResponseRenderer(told, namespaced(request.tools)), TurnReader(self._http.error))

    # ---- calls -----------------------------------------------------------------------------------------------------

    async def _answer(self, body: Json) -> Json:
        answer = await self._http.post_json(_PATH, body)
        if "output" not in answer:
            if answer.get("error"):
                raise self._http.error(answer["error"])
            raise self._http.invalid("answered without an output")
        return answer

    async def _events(self, body: Json) -> AsyncGenerator[list[Json]]:
        async with aclosing(self._http.post_stream(_PATH, body, is_last=_is_last, whole="output")) as batches:
            async for batch in batches:
                yield [self._event(event) for event in batch if event.data and not is_done(event)]

    def _event(self, event: SseEvent) -> Json:
        parsed = json_event(self._http, event)
        if "type" not in parsed and "output" in parsed:
            return {"type": f"response.{parsed.get('status') or 'completed'}", "response": parsed}
        if "type" not in parsed:
            # What has no type is named by its event line, or is the bare error of a proxy in between.
            parsed["type"] = event.event or ("error" if parsed.get("error") else "")
        return parsed


class AnewStream:
    """Makes the events of a response anew from what a sloppy upstream says; `NativeStream` has the same methods."""

    def __init__(self, renderer: ResponseRenderer, reader: TurnReader) -> None:
        self._renderer = renderer
        self._reader = reader

    @property
    def begun(self) -> bool:
        return self._renderer.started

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def read_batch(self, http: UpstreamHttp, batch: list[Json]) -> tuple[list[ResponseEvent], ServiceError | None]:
        return read_batch(http, self._read, batch)

    def _read(self, event: Json) -> Iterator[ResponseEvent]:
        for read in self._reader.read(event):
            yield from self._renderer.render([read])

    def fail(self, error: ServiceError) -> list[ResponseEvent]:
        return self._renderer.fail(error)


def _native_body(request: CreateResponseRequest, upstream_model: str, *, stream: bool) -> Json:
    body: Json = without_seals(codec_for(CreateResponseRequest).encode(request))
    # The whole conversation comes with each request, and is kept here: the upstream has nothing to keep.
    body |= {"model": upstream_model, "stream": stream, "store": False}
    if not stream:
        body.pop("stream_options", None)
    return body


def _is_last(event: SseEvent) -> bool:
    return is_done(event) or _LAST.search(event.data) is not None
