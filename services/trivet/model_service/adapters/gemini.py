"""The Gemini dialect: Google's Gemini API, and the same models at Vertex AI."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Final
from urllib.parse import quote, urlencode

from trivet.kernel.errors import UpstreamFailed, UpstreamRejected
from trivet.model_service.adapters.gemini_events import AnswerReader
from trivet.model_service.adapters.gemini_request import gemini_body
from trivet.model_service.adapters.missing_api import is_missing
from trivet.model_service.adapters.reading import Json, as_its_api_says, json_event, read_batch
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import key_header
from trivet.model_service.domain.ports import ModelInfo
from trivet.model_service.domain.turn import CustomTool, TurnEvent, TurnRequest

BASE_URL: Final = "https://generativelanguage.googleapis.com/v1beta"
authorize: Final = key_header("x-goog-api-key")

_GENERATES: Final = "generateContent"
_COUNTED: Final = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})
"""What Vertex AI takes to count; the Gemini API takes a whole request."""

_PAGE: Final = 1000
_MOST_PAGES: Final = 20


class Gemini:
    """A `Dialect` and a `CountsTokens` over one provider. `vertex`: it is Vertex AI, which counts by a body of another form."""

    def __init__(self, http: UpstreamHttp, *, vertex: bool = False) -> None:
        self._http = http
        self._vertex = vertex

    async def turn(self, request: TurnRequest) -> AsyncGenerator[list[TurnEvent]]:
        """See `Dialect.turn`."""
        body = gemini_body(request)
        reader = AnswerReader(self._http.invalid, {tool.name for tool in request.tools if isinstance(tool, CustomTool)})
        pieces = self._stream(request.model, body, reader) if request.stream else self._single(request.model, body)
        async with aclosing(pieces) as batches:
            async for batch in batches:
                events, error = read_batch(self._http, reader.read, batch)
                if events:
                    yield events
                if error:
                    raise error
        with as_its_api_says(self._http):
            last = list(reader.finish())
        yield last

    async def count_tokens(self, request: TurnRequest) -> int | None:
        """See `CountsTokens.count_tokens`."""
        body = gemini_body(request)
        if self._vertex:
            body = {key: value for key, value in body.items() if key in _COUNTED}
        else:
            body = {"generateContentRequest": {"model": f"models/{request.model}"} | body}
        try:
            answer = await self._http.post_json(method_path(request.model, "countTokens"), body)
        except UpstreamRejected as error:
            if not is_missing(error):
                raise
            return None
        counted = answer.get("totalTokens")
        return counted if isinstance(counted, int) else None

    async def list_models(self) -> list[ModelInfo]:
        """See `Dialect.list_models`: those that generate content."""
        found: list[ModelInfo] = []
        token = ""
        for _ in range(_MOST_PAGES):
            query = {"pageSize": _PAGE} | ({"pageToken": token} if token else {})
            page = await self._http.get_json(f"models?{urlencode(query)}")
            with as_its_api_says(self._http):
                found += _models(page)
            token = page.get("nextPageToken") or ""
            if not token:
                return found
        raise self._http.invalid("does not come to the end of its list of models")

    async def aclose(self) -> None:
        """See `Dialect.aclose`."""
        await self._http.aclose()

    # ---- calls -----------------------------------------------------------------------------------------------------

    async def _single(self, model: str, body: Json) -> AsyncGenerator[Iterable[Json]]:
        yield [self._told(await self._http.post_json(method_path(model, _GENERATES), body))]

    async def _stream(self, model: str, body: Json, reader: AnswerReader) -> AsyncGenerator[Iterable[Json]]:
        path = method_path(model, "streamGenerateContent?alt=sse")
        # Nothing marks the last event: what is found out about the sources may come after the reason to finish.
        try:
            async with aclosing(self._http.post_stream(path, body, is_last=_never, whole="candidates")) as batches:
                async for batch in batches:
                    yield (self._told(json_event(self._http, event)) for event in batch if event.data)
        except UpstreamFailed:
            if not reader.whole:
                raise

    def _told(self, answer: Json) -> Json:
        if answer.get("error"):
            raise self._http.error(answer["error"])
        return answer


def _never(_: SseEvent) -> bool:
    return False


def method_path(model: str, method: str) -> str:
    """Where a method of a model is, relative to the base URL."""
    return f"models/{quote(model, safe='')}:{method}"


def _models(page: Json) -> Iterator[ModelInfo]:
    for model in page.get("models") or ():
        if _GENERATES in (model.get("supportedGenerationMethods") or ()):
            yield ModelInfo(model["name"].removeprefix("models/"), description=model.get("description") or "")
