"""A response that is one text and nothing else, as most are, from its turn to JSON without a message between them.

What is there always, and in which order, is taken from what the codec makes of such a response.
"""

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson

from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.identity import id_beside
from trivet.model_service.domain.turn import TextDelta, TurnEvent, TurnFinished, TurnStarted, Usage
from trivet.model_service.faces.rendered import RenderedAnswer, told_usage
from trivet.model_service.faces.responses_echo import REPEATED, Begun
from trivet.model_service.faces.responses_finish import CUT_SHORT
from trivet.model_service.faces.responses_whole import answer_in_one_text, one_text

_Json = dict[str, Any]


def rendered_response(begun: Begun, provider: str, events: Sequence[TurnEvent]) -> RenderedAnswer | None:
    """The response that `events`, a whole turn of `provider`, make of one that has begun with texts, numbers and switches alone.

    None for a turn that is not one text.
    """
    found = one_text(events)
    if found is None:
        return None
    text, end = found
    like, message, part = _template()
    told, status, cut_short = like.copy(), "completed", CUT_SHORT.get(end.reason)
    for name, value in begun.given.items():
        if name in REPEATED:
            told[name] = value
    if instructions := begun.given.get("instructions"):
        told["instructions"] = instructions
    if cut_short is None:
        told["completed_at"] = int(time.time())
    else:
        status, told["incomplete_details"] = "incomplete", {"reason": cut_short}
    told["id"], told["created_at"], told["status"], told["provider"] = begun.id, begun.created_at, status, provider
    told["output"] = [{**message, "id": id_beside(begun.id, "msg"), "status": status, "content": [{**part, "text": text}]}]
    if end.usage is not None:
        told["usage"] = _counted(end.usage)
    if end.service_tier:
        told["service_tier"] = end.service_tier
    return RenderedAnswer(orjson.dumps(told), told_usage(end.usage))


def _counted(usage: Usage) -> _Json:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens or usage.input_tokens + usage.output_tokens,
    }


@cache
def _template() -> tuple[_Json, _Json, _Json]:
    """A response in one text, its message, and the part with the text, without what they do not have in common with others."""
    sample = Begun({}).response()
    answer_in_one_text(sample, [TurnStarted(), TextDelta("-"), TurnFinished("stop")])
    told: _Json = codec_for(Response).encode(sample)
    (message,) = told["output"]
    (part,) = message["content"]
    return {**told, "completed_at": None}, message, part
