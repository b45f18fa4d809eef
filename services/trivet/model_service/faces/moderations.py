"""Moderation in OpenAI's form: requests to the port's, and its judgements to answers."""

from collections.abc import Mapping
from typing import Any

import orjson

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest, UpstreamFailed
from trivet.model.v1 import moderation_pb2 as pb
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.moderation import ModerationAnswer, ModerationRequest
from trivet.model_service.faces.extra_parameters import extra_parameters


def parse(request: pb.CreateModerationRequest, upstream_model: str) -> ModerationRequest:
    """What to ask the provider. Raises InvalidRequest, whose `param` is the input at fault."""
    plain = [element.WhichOneof("element") == "plain" for element in request.input.list.elements]
    for index, is_plain in enumerate(plain):
        if is_plain is not plain[0]:
            raise InvalidRequest("`input` may hold texts or parts of a content, but not both.", f"input[{index}]")
    given = codec_for(pb.ModerationInput).dumps(request.input).decode()
    return ModerationRequest(upstream_model, given, extra_parameters(request))


def render(
    request: pb.CreateModerationRequest, model: str, answer: ModerationAnswer, provider: str
) -> pb.CreateModerationResponse:
    """The answer to `request`, which asked for `model`. Raises UpstreamFailed for what is no answer to it."""
    elements = request.input.list.elements
    judged = len(elements) if elements and elements[0].HasField("plain") else 1
    if len(answer.results) != judged:
        raise UpstreamFailed(f"The provider `{provider}` answered with {len(answer.results)} results for {judged} inputs.")
    try:
        results = [codec_for(pb.ModerationVerdict).decode(_completed(result)) for result in answer.results]
    except InvalidRequest as error:
        raise UpstreamFailed(f"The provider `{provider}` broke its API at `{error.param}`.") from error
    more: dict[str, Any] = {name: orjson.Fragment(raw) for name, raw in answer.extra.items()}
    extra = orjson.dumps(more).decode() if more else ""
    return pb.CreateModerationResponse(id=answer.id or new_id("modr"), model=model, results=results, extra=extra)


def _completed(result: Mapping[str, object]) -> Mapping[str, object]:
    """A judgement with what is told between the lines: null for what is not judged, and no `flagged` where categories say it."""
    told = {key: _judged(value) if key in ("categories", "category_scores") else value for key, value in result.items()}
    categories = told.get("categories")
    if told.get("flagged") is None and isinstance(categories, dict):
        told["flagged"] = any(value is True for value in categories.values())
    return told


def _judged(by_category: object) -> object:
    if not isinstance(by_category, dict):
        return by_category
    return {category: value for category, value in by_category.items() if value is not None}
