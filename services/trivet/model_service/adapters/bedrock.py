"""The Converse dialect of AWS Bedrock, whatever the model behind it."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Final
from urllib.parse import quote

from trivet.kernel.errors import ServiceError, UpstreamRejected
from trivet.model_service.adapters.bedrock_events import ConverseReader
from trivet.model_service.adapters.bedrock_request import converse_body, counted
from trivet.model_service.adapters.bedrock_stream import MEDIA_TYPE, ConverseEvent, read_events
from trivet.model_service.adapters.reading import as_its_api_says, read_batch
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.domain.ports import ModelInfo
from trivet.model_service.domain.turn import TurnEvent, TurnRequest

_MODELS: Final = "foundation-models?byOutputModality=TEXT&byInferenceType=ON_DEMAND"
_PROFILES: Final = "inference-profiles?maxResults=1000"


class Bedrock:
    """A `Dialect` and a `CountsTokens`: `http` is the runtime, `control` the host that lists models."""

    def __init__(self, http: UpstreamHttp, control: UpstreamHttp) -> None:
        self._http = http
        self._control = control

    async def turn(self, request: TurnRequest) -> AsyncGenerator[list[TurnEvent]]:
        """See `Dialect.turn`."""
        body = converse_body(request)
        reader = ConverseReader()
        if not request.stream:
            answer = await self._http.post_json(_path(request.model, "converse"), body)
            with as_its_api_says(self._http):
                events = list(reader.read_whole(answer))
            yield events
            return
        pieces = self._http.stream_bytes(_path(request.model, "converse-stream"), body, accept=MEDIA_TYPE)
        async with aclosing(read_events(pieces, self._http.invalid)) as batches:
            try:
                async for batch in batches:
                    events, error = read_batch(self._http, partial(self._events, reader), batch)
                    if events:
                        yield events
                    if error:
                        raise error
            except ServiceError:
                # Whatever broke after the model had stopped: the answer is whole, but for its usage.
                if not reader.stopped:
                    raise
        if not reader.stopped:
            raise self._http.invalid("ended its stream early")
        yield [reader.finish()]

    async def count_tokens(self, request: TurnRequest) -> int | None:
        """See `CountsTokens.count_tokens`; not every model has its tokens counted."""
        try:
            answer = await self._http.post_json(_path(request.model, "count-tokens"), counted(converse_body(request)))
        except UpstreamRejected:
            return None
        found = answer.get("inputTokens")
        return found if isinstance(found, int) else None

    async def list_models(self) -> list[ModelInfo]:
        """See `Dialect.list_models`: the models on demand, and the profiles that newer ones are called by."""
        models = await self._control.get_json(_MODELS)
        profiles = await self._control.get_json(_PROFILES)
        with as_its_api_says(self._http):
            return [ModelInfo(one["modelId"], description=one.get("modelName") or "") for one in models["modelSummaries"]] + [
                ModelInfo(one["inferenceProfileId"], description=one.get("inferenceProfileName") or "")
                for one in profiles["inferenceProfileSummaries"]
            ]

    async def aclose(self) -> None:
        """See `Dialect.aclose`."""
        await self._http.aclose()
        await self._control.aclose()

    def _events(self, reader: ConverseReader, event: ConverseEvent) -> Iterator[TurnEvent]:
        if event.fault:
            told = event.body.get("message") or event.body.get("originalMessage")
            raise self._http.error({"message": told, "type": event.name})
        yield from reader.read(event.name, event.body)


def _path(model: str, operation: str) -> str:
    """Encoded once, as it is sent; what is signed encodes that once more. An ARN has colons and slashes."""
    return f"model/{quote(model, safe='')}/{operation}"
