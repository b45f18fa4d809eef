"""Streams of whole turns, as the service tells them, with every kind of item that it renders or passes on."""

from collections.abc import Iterable
from itertools import count
from typing import Any

import orjson

from tests.model.answering import Answering, servicer, to_responses
from tests.model.responses_events import calls, completed, event, message, numbered, reasoning, search, snapshot
from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain import turn
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.faces.responses_render import ResponseRenderer

Json = dict[str, Any]

_ids = count()


def told(**changes: Any) -> Response:
    """A response as it begins."""
    asked = {"model": "lab/fast", "input": "hi", "background": True, **changes}
    return begin(codec_for(CreateResponseRequest).decode(asked), "lab")


def rendered() -> list[ResponseEvent]:
    """A turn of a chat model: reasoning with two summaries, a message of text, citation and refusal, two calls."""
    renderer = ResponseRenderer(told(), {})
    citation = '{"type":"file_path","file_id":"f","index":1}'
    events = renderer.render(
        [
            turn.TurnStarted(),
            turn.ReasoningDelta("let "),
            turn.ReasoningDelta("me"),
            turn.ReasoningDelta("first", 0),
            turn.ReasoningDelta(" of all", 0),
            turn.ReasoningDelta("second", 1),
            turn.ReasoningEnded(),
            turn.TextDelta("Hel", (turn.TokenLogprob("Hel", -0.5),)),
            turn.AnnotationAdded(citation),
            turn.TextDelta("lo"),
            turn.RefusalDelta("but "),
            turn.RefusalDelta("no"),
            turn.ToolCallStarted(0, "call_1", "f"),
            turn.ToolCallDelta(0, '{"a"'),
            turn.ToolCallDelta(0, ":1}"),
            turn.ToolCallStarted(1, "call_2", "g", "custom"),
            turn.ToolCallDelta(1, "go"),
            turn.ToolCallDelta(1, " on"),
        ]
    )
    return [*events, *renderer.render([turn.TurnFinished("tool_calls")])]


def _novelty(index: int) -> list[Json]:
    """An item of a type that is not known here, and an event of it."""
    item = {"type": "novelty_call", "id": "nov_1", "status": "in_progress"}
    done = item | {"status": "completed"}
    return [
        event("output_item.added", output_index=index, item=item),
        event("novelty_call.thinking", item_id="nov_1", output_index=index, x=[1]),
        event("output_item.done", output_index=index, item=done),
    ]


async def native() -> list[ResponseEvent]:
    """A turn of a Responses upstream, each time with items of other ids: a provider never gives one twice."""
    items = [*reasoning(), *search(), *message(), *calls(), *_novelty(5)]
    output = [item["item"] for item in items if item["type"] == "response.output_item.done"]
    said = numbered([snapshot("created"), snapshot("in_progress"), *items, snapshot("completed", completed(output=output))])
    text = orjson.dumps(said).decode()
    serial = next(_ids)
    for name in ("rs_1", "ws_1", "msg_1", "fc_1", "ctc_1", "nov_1"):
        text = text.replace(name, f"{name}_{serial}")
    batches = servicer(Answering({}, orjson.loads(text))).StreamResponse(to_responses("responses"), None)
    return [one async for batch in batches for one in batch.events]


def as_json(events: Iterable[ResponseEvent]) -> list[Json]:
    """What a client reads."""
    return [orjson.loads(codec_for(ResponseEvent).dumps(one)) for one in events]


def copies(events: Iterable[ResponseEvent]) -> list[ResponseEvent]:
    """What a store gives back."""
    return [ResponseEvent.FromString(one.SerializeToString()) for one in events]


def item(value: Json) -> Item:
    """An item from its JSON."""
    return codec_for(Item).decode(value)
