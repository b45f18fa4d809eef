"""The Messages dialect: Anthropic itself, and every other server with that API (llama.cpp is one)."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from trivet.kernel.errors import UpstreamRejected
from trivet.model_service.adapters.anthropic_events import MessageReader
from trivet.model_service.adapters.anthropic_messages import PATH, AnthropicMessages, is_last
from trivet.model_service.adapters.anthropic_request import count_body, messages_body
from trivet.model_service.adapters.missing_api import is_missing
from trivet.model_service.adapters.reading import Json, as_its_api_says, read_batch
from trivet.model_service.adapters.upstream_http import UpstreamHttp, is_done
from trivet.model_service.domain.ports import ModelInfo
from trivet.model_service.domain.turn import TurnEvent, TurnRequest

BASE_URL: Final = "https://api.anthropic.com/v1"

_VERSION: Final = "2023-06-01"
_PAGE: Final = 1000


def authorize(key: str) -> Mapping[str, str]:
    """The key in the header of this API, and the version of it that is spoken where the provider's headers name no other."""
    return {"anthropic-version": _VERSION} | ({"x-api-key": key} if key else {})


class Anthropic(AnthropicMessages):
    """A `Dialect`, a `CountsTokens` and a `NativeMessages` over one provider."""

    def __init__(self, http: UpstreamHttp) -> None:
        super().__init__(http)
        self._counts = True

    async def turn(self, request: TurnRequest) -> AsyncGenerator[list[TurnEvent]]:
        """See `Dialect.turn`."""
        body = messages_body(request)
        reader = MessageReader(self._http.error)
        if not request.stream:
            answer = await self._message(body, {})
            with as_its_api_says(self._http):
                whole = list(reader.read_whole(answer))
            yield whole
            return
        async with aclosing(self._http.post_stream(PATH, body, is_last=is_last, whole="type")) as batches:
            async for batch in batches:
                given = (self.event(event) for event in batch if event.data and not is_done(event))
                events, error = read_batch(self._http, reader.read, given)
                if events:
                    yield events
                if error:
                    raise error
        if not reader.finished:
            raise self._http.invalid("ended its stream early")

    async def count_tokens(self, request: TurnRequest) -> int | None:
        """See `CountsTokens.count_tokens`."""
        if not self._counts:
            return None
        try:
            answer = await self._object(f"{PATH}/count_tokens", count_body(request), {})
        except UpstreamRejected as error:
            if not is_missing(error):
                raise
            # A server that has no such path never will: it is asked once.
            self._counts = False
            return None
        counted = answer.get("input_tokens")
        return counted if isinstance(counted, int) else None

    async def list_models(self) -> list[ModelInfo]:
        """See `Dialect.list_models`."""
        found: list[ModelInfo] = []
        after: dict[str, str] = {}
        while True:
            page = await self._http.get_json(f"models?{urlencode({'limit': _PAGE} | after)}")
            listed = page.get("data")
            if not isinstance(listed, list):
                raise self._http.invalid("listed its models in an unknown form")
            found += [_model(model) for model in listed if isinstance(model, dict) and isinstance(model.get("id"), str)]
            last = page.get("last_id")
            if not page.get("has_more") or not isinstance(last, str) or last == after.get("after_id"):
                return found
            after = {"after_id": last}

    async def aclose(self) -> None:
        """See `Dialect.aclose`."""
        await self._http.aclose()


def _model(model: Json) -> ModelInfo:
    name = model.get("display_name")
    return ModelInfo(model["id"], _time(model.get("created_at")), name if isinstance(name, str) else "")


def _time(told: object) -> int:
    try:
        return max(0, int(datetime.fromisoformat(told).timestamp())) if isinstance(told, str) else 0
    except ValueError:
        return 0
