"""Moderation of OpenAI's API."""

from typing import Any, Final

import orjson

from trivet.model_service.adapters.extra_parameters import with_extra
from trivet.model_service.adapters.missing_api import said_if_missing
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.domain.moderation import ModerationAnswer, ModerationRequest

_PATH: Final = "moderations"
_KNOWN: Final = frozenset({"id", "model", "results"})


class OpenAIModerations:
    """A `Moderator` over one provider."""

    def __init__(self, http: UpstreamHttp, default_model: str = "") -> None:
        self._http = http
        self.default_model = default_model

    async def moderate(self, request: ModerationRequest) -> ModerationAnswer:
        """See `Moderator.moderate`."""
        body: dict[str, Any] = {"model": request.model, "input": orjson.Fragment(request.input)}
        with said_if_missing("moderation"):
            answer = await self._http.post_json(_PATH, with_extra(body, request, ()))
        if answer.get("error"):
            raise self._http.error(answer["error"])
        results = answer.get("results")
        if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
            raise self._http.invalid("answered without results")
        return ModerationAnswer(
            tuple(results),
            id=answer["id"] if isinstance(answer.get("id"), str) else "",
            extra={name: orjson.dumps(value).decode() for name, value in answer.items() if name not in _KNOWN},
        )
