"""How a response that has not failed ends."""

import time
from typing import Final

from trivet.model.v1 import response_pb2 as pb
from trivet.model_service.domain.turn import TurnFinished

CUT_SHORT: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Reasons to finish that make a response incomplete -> what it says of them."""


def ending_of(event: TurnFinished) -> str:
    """How a turn that finished so has left its last item: `completed` or `incomplete`."""
    return "incomplete" if event.reason in CUT_SHORT else "completed"


def finish(response: pb.Response, event: TurnFinished) -> None:
    """Makes `response` one that has ended as its turn did: its output aside."""
    if (usage := event.usage) is not None:
        told = response.usage
        told.input_tokens = usage.input_tokens
        told.output_tokens = usage.output_tokens
        told.total_tokens = usage.total_tokens or usage.input_tokens + usage.output_tokens
        if usage.cached_tokens:
            told.input_tokens_details.cached_tokens = usage.cached_tokens
        if usage.cache_write_tokens:
            told.input_tokens_details.cache_write_tokens = usage.cache_write_tokens
        if usage.reasoning_tokens:
            told.output_tokens_details.reasoning_tokens = usage.reasoning_tokens
    if event.service_tier:
        response.service_tier = event.service_tier
    cut_short = CUT_SHORT.get(event.reason)
    if cut_short is None:
        response.status, response.completed_at = "completed", int(time.time())
    else:
        response.status, response.incomplete_details.reason = "incomplete", cut_short
