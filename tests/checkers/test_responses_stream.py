"""The checker of Responses streams finds every defect that is planted in a good stream."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import orjson
import pytest

from tests.checkers.responses_stream import check_responses_sse, check_responses_stream
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import UpstreamFailed
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
    TurnFinished,
    TurnStarted,
)
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.faces.responses_render import ResponseRenderer

Event = dict[str, Any]
Events = list[Event]


def stream(*, fails: bool = False, reason: Any = "stop") -> Events:
    made = ResponseRenderer(begin(codec_for(CreateResponseRequest).decode({"model": "lab/fast", "input": "hi"}), "lab"), {})
    citation = '{"type":"file_path","file_id":"f","index":1}'
    events = made.render(
        [
            TurnStarted(),
            ReasoningDelta("h"),
            ReasoningDelta("m"),
            ReasoningDelta("s", 0),
            ReasoningEnded(),
            TextDelta("Hel", (TokenLogprob("Hel", -0.5),)),
            AnnotationAdded(citation),
            TextDelta("lo"),
            ToolCallStarted(0, "call_1", "f"),
            ToolCallDelta(0, '{"a"'),
            ToolCallDelta(0, ":1}"),
            ToolCallStarted(1, "call_2", "g", "custom"),
            ToolCallDelta(1, "go"),
        ]
    )
    events += made.fail(UpstreamFailed("It broke.")) if fails else made.render([TurnFinished(reason)])
    return [orjson.loads(codec_for(ResponseEvent).dumps(event)) for event in events]


def place(events: Events, kind: str, nth: int = 0) -> int:
    return [index for index, event in enumerate(events) if event["type"] == f"response.{kind}"][nth]


def find(events: Events, kind: str, nth: int = 0) -> Event:
    return events[place(events, kind, nth)]


def without(kind: str, nth: int = 0) -> Callable[[Events], None]:
    """Leaves an event out, and numbers the rest anew."""

    def plant(events: Events) -> None:
        del events[place(events, kind, nth)]
        number(events)

    return plant


def with_(kind: str, **changes: Any) -> Callable[[Events], None]:
    return lambda events: find(events, kind).update(changes)


def swapped(kind: str, other: str) -> Callable[[Events], None]:
    def plant(events: Events) -> None:
        first, second = place(events, kind), place(events, other)
        events[first], events[second] = events[second], events[first]
        number(events)

    return plant


def twice(kind: str) -> Callable[[Events], None]:
    def plant(events: Events) -> None:
        events.insert(place(events, kind), deepcopy(find(events, kind)))
        number(events)

    return plant


def number(events: Events) -> None:
    for index, event in enumerate(events):
        event["sequence_number"] = index


def response(kind: str, **changes: Any) -> Callable[[Events], None]:
    return lambda events: find(events, kind)["response"].update(changes)


def _gap(events: Events) -> None:
    events[5]["sequence_number"] += 1


def _lacks_a_key(events: Events) -> None:
    del events[0]["response"]["truncation"]


def _streams_after_the_end(events: Events) -> None:
    events.append(deepcopy(events[3]) | {"sequence_number": len(events)})


def _other_item_in_done(events: Events) -> None:
    find(events, "output_item.done")["item"]["id"] = "rs_other"


def _other_text_in_the_item(events: Events) -> None:
    find(events, "output_item.done", 1)["item"]["content"][0]["text"] = "Hellp"


def _other_arguments_in_the_item(events: Events) -> None:
    find(events, "output_item.done", 2)["item"]["arguments"] = "{}"


def _output_without_an_item(events: Events) -> None:
    events[-1]["response"]["output"].pop()


def _item_in_progress_at_the_end(events: Events) -> None:
    for item in (find(events, "output_item.done", 3)["item"], events[-1]["response"]["output"][-1]):
        item["status"] = "in_progress"


def _incomplete_item_not_last(events: Events) -> None:
    for item in (find(events, "output_item.done", 0)["item"], events[-1]["response"]["output"][0]):
        item["status"] = "incomplete"


def _one_id_for_two_items(events: Events) -> None:
    text = orjson.dumps(events).decode()
    first, second = (find(events, "output_item.added", nth)["item"]["id"] for nth in (0, 1))
    events[:] = orjson.loads(text.replace(second, first))


DEFECTS: dict[str, Callable[[Events], None]] = {
    "a gap in the numbers": _gap,
    "no created": without("created"),
    "no in_progress": without("in_progress"),
    "in_progress first": swapped("created", "in_progress"),
    "created twice": twice("created"),
    "no terminal event": without("completed"),
    "an event after the terminal one": _streams_after_the_end,
    "the response's id changes": response("completed", id="resp_other"),
    "the response's status is wrong": response("completed", status="in_progress"),
    "the response lacks a key": _lacks_a_key,
    "a number is null": response("created", temperature=None),
    "output before there is any": response("in_progress", output=[{"type": "message"}]),
    "an error in a completed response": response("completed", error={"code": "server_error", "message": "m"}),
    "incomplete_details in a completed response": response("completed", incomplete_details={"reason": "content_filter"}),
    "the final output lacks an item": _output_without_an_item,
    "an item is not added": without("output_item.added"),
    "an item is not done": without("output_item.done"),
    "an item is done as another": _other_item_in_done,
    "an item has the id of another": _one_id_for_two_items,
    "an item has a wrong place": with_("output_item.added", output_index=1),
    "an item is done at a wrong place": with_("output_item.done", output_index=1),
    "an item is left in progress": _item_in_progress_at_the_end,
    "an incomplete item is not last": _incomplete_item_not_last,
    "items are mixed": swapped("output_item.done", "output_text.delta"),
    "a part is not added": without("content_part.added", 1),
    "a part is not done": without("content_part.done", 1),
    "a part has a wrong place": with_("content_part.added", content_index=1),
    "a summary is not added": without("reasoning_summary_part.added"),
    "a summary is not done": without("reasoning_summary_part.done"),
    "a summary has a wrong place": with_("reasoning_summary_text.delta", summary_index=1),
    "a delta has a wrong place": with_("output_text.delta", content_index=1),
    "a delta has a wrong output_index": with_("output_text.delta", output_index=0),
    "a delta is of another item": with_("output_text.delta", item_id="msg_other"),
    "a delta is of another kind": with_("output_text.delta", type="response.refusal.delta"),
    "a delta lacks logprobs": with_("output_text.delta", logprobs=None),
    "a delta is lost": without("output_text.delta"),
    "a delta after its done": swapped("output_text.delta", "output_text.done"),
    "no output_text.done": without("output_text.done"),
    "another text in output_text.done": with_("output_text.done", text="Hellp"),
    "other logprobs in output_text.done": with_("output_text.done", logprobs=[]),
    "another part in content_part.done": with_("content_part.done", part={"type": "refusal", "refusal": "no"}),
    "another text in the item": _other_text_in_the_item,
    "an annotation is lost": without("output_text.annotation.added"),
    "an annotation has a wrong place": with_("output_text.annotation.added", annotation_index=1),
    "another reasoning in its done": with_("reasoning_text.done", text="other"),
    "another summary in its done": with_("reasoning_summary_text.done", text="other"),
    "no arguments.done": without("function_call_arguments.done"),
    "arguments.done twice": twice("function_call_arguments.done"),
    "arguments.done before a delta": swapped("function_call_arguments.delta", "function_call_arguments.done"),
    "other arguments in arguments.done": with_("function_call_arguments.done", arguments="{}"),
    "arguments.done without a name": with_("function_call_arguments.done", name=None),
    "other arguments in the item": _other_arguments_in_the_item,
    "a delta of arguments is lost": without("function_call_arguments.delta"),
    "no input.done": without("custom_tool_call_input.done"),
    "other input in input.done": with_("custom_tool_call_input.done", input="other"),
}  # fmt: skip


@pytest.mark.parametrize("events", [stream(), stream(reason="length"), stream(fails=True)], ids=["whole", "cut", "failed"])
def test_a_good_stream_has_no_violations(events: Events) -> None:
    assert check_responses_stream(events) == []
    assert check_responses_sse(sse(events)) == []


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_planted_defect_is_found(defect: Callable[[Events], None]) -> None:
    events = stream()
    defect(events)

    assert check_responses_stream(events) != []


@pytest.mark.parametrize(
    "defect",
    [
        lambda events: events.pop(),
        lambda events: events[-2].update(message="other"),
        lambda events: events[-2]["error"].pop("param"),
        lambda events: events[-2]["error"].pop("type"),
        lambda events: events[-1]["response"].update(error=None),
    ],
    ids=["no failed after error", "two messages", "no param", "no type", "no error in the response"],
)
def test_a_defect_planted_in_a_failed_stream_is_found(defect: Callable[[Events], None]) -> None:
    events = stream(fails=True)
    defect(events)

    assert check_responses_stream(events) != []


def test_a_stream_of_nothing_is_a_defect() -> None:
    assert check_responses_stream([]) != []


def sse(events: Events) -> bytes:
    frames = [f"event: {event['type']}\ndata: {orjson.dumps(event).decode()}\n\n" for event in events]
    return "".join([": heartbeat\n\n", *frames, "data: [DONE]\n\n"]).encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"data: [DONE]\n\n", b""),
        (b"event: response.completed\n", b""),
        (b"event: response.created\n", b"event: response.failed\n"),
        (b": heartbeat\n\n", b"data: [DONE]\n\n"),
        (b"data: [DONE]\n\n", b"data: [DONE]\n"),
    ],
    ids=["no [DONE]", "no event line", "another event line", "an early [DONE]", "an open frame"],
)
def test_a_defect_of_the_framing_is_found(old: bytes, new: bytes) -> None:
    raw = sse(stream())

    assert old in raw
    assert check_responses_sse(raw.replace(old, new, 1)) != []


def cancelled(events: Events) -> Events:
    events[-1]["type"] = "response.incomplete"
    events[-1]["response"]["status"] = "cancelled"
    return events


def test_a_cancelled_response_ends_as_an_incomplete_one_without_a_reason() -> None:
    assert check_responses_stream(cancelled(stream())) == []

    with_a_reason = cancelled(stream())
    with_a_reason[-1]["response"]["incomplete_details"] = {"reason": "max_output_tokens"}
    assert check_responses_stream(with_a_reason) != []


def test_only_a_response_cancelled_in_the_queue_is_never_in_progress() -> None:
    created, _, *_, last = cancelled(stream())
    last["response"]["output"] = []
    queued = {**created, "type": "response.queued", "sequence_number": 1}

    assert check_responses_stream([created, queued, {**last, "sequence_number": 2}]) == []
    assert check_responses_stream([created, {**last, "sequence_number": 1}]) != []


def test_only_a_response_that_was_taken_up_goes_on_after_an_incomplete_item() -> None:
    events = stream()
    _incomplete_item_not_last(events)

    assert check_responses_stream(events, taken_up=True) == []
