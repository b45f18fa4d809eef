"""A turn that is one text becomes, in one go, the response that is gathered of it piece by piece."""

import re

import pytest

from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.turn import (
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TextRun,
    TokenLogprob,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.faces.responses_whole import WholeResponse, answer_in_one_text

ENDINGS = {
    "usual": TurnFinished("stop", Usage(3, 2, 5)),
    "without usage": TurnFinished("stop"),
    "cut short": TurnFinished("length", Usage(3, 2, 5, 1, 2, 1)),
    "filtered": TurnFinished("content_filter", Usage(0, 0, 0), "flex"),
}

OTHERS: dict[str, list[TurnEvent]] = {
    "nothing": [],
    "two pieces": [TextDelta("a"), TextDelta("b")],
    "a run": [TextRun(["a", "b"])],
    "log probabilities": [TextDelta("a", (TokenLogprob("a", -1.0),))],
    "a refusal": [RefusalDelta("no")],
    "a thought": [ReasoningDelta("hm"), TextDelta("a")],
}


def told() -> Response:
    return begin(CreateResponseRequest(model="lab/m", store=False), "lab")


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_text_makes_the_same_response_either_way(ending: str) -> None:
    events: list[TurnEvent] = [TurnStarted(), TextDelta("hi"), ENDINGS[ending]]
    begun = told()
    gathered, at_once = Response(), Response()
    gathered.CopyFrom(begun)
    at_once.CopyFrom(begun)
    whole = WholeResponse(gathered, {})
    whole.add(events)

    assert answer_in_one_text(at_once, events)

    for response in (gathered, at_once):
        assert re.fullmatch("msg_[0-9a-f]{48}", response.output[0].message.id)
        response.output[0].message.id = ""
        response.ClearField("completed_at")
    assert at_once == gathered


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_turn_is_left_as_it_is(name: str) -> None:
    begun = told()
    before = begun.SerializeToString()

    assert not answer_in_one_text(begun, [TurnStarted(), *OTHERS[name], ENDINGS["usual"]])
    assert begun.SerializeToString() == before
