"""What stays of a Responses upstream's stream that breaks off in the middle of an item."""

import orjson
import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.model.responses_events import calls, event, message, numbered, reasoning, snapshot
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.runs import runs_of
from trivet.kernel.errors import UpstreamFailed
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.openai_responses_native import NativeResponse, NativeStream, Pieces, joined
from trivet.model_service.adapters.reading import Json
from trivet.model_service.faces.responses_echo import begin


def broken(said: list[Json]) -> list[Json]:
    """The events of a response whose upstream says these and then nothing more."""
    told = begin(CreateResponseRequest(model="oai/m"), "oai")
    stream = NativeStream(NativeResponse(told), lambda _: UpstreamFailed("It failed."))
    found = [made for one in joined(said) for made in stream.read(one)]
    found += stream.fail(UpstreamFailed("It broke."))
    singles = [single for made in found for single in runs_of(ResponseEvent.DESCRIPTOR).singles(made)]
    return [orjson.loads(codec_for(ResponseEvent).dumps(made)) for made in singles]


def cut_after(kind: str, item: list[Json]) -> list[Json]:
    """A stream that has this item alone, up to its first event of this kind."""
    alone = numbered([snapshot("created"), snapshot("in_progress"), *item])
    for one in alone[2:]:
        one["output_index"] = 0
    return alone[: [one["type"] for one in alone].index(f"response.{kind}") + 1]


def test_a_message_stays_as_far_as_it_came() -> None:
    said = cut_after("output_text.delta", message())

    found = broken(said)

    assert check_responses_stream(found) == []
    assert [one["type"] for one in found[len(said) :]] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "error",
        "response.failed",
    ]
    (item,) = found[-1]["response"]["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", said[-1]["delta"])


def test_a_call_stays_as_far_as_it_came() -> None:
    said = cut_after("function_call_arguments.delta", calls())

    found = broken(said)

    assert check_responses_stream(found) == []
    (item,) = found[-1]["response"]["output"]
    assert (item["status"], item["arguments"]) == ("incomplete", said[-1]["delta"])


@pytest.mark.parametrize("kind", ["reasoning_summary_part.added", "reasoning_summary_text.delta", "output_item.added"])
def test_reasoning_is_ended(kind: str) -> None:
    found = broken(cut_after(kind, reasoning()))

    assert check_responses_stream(found) == []
    assert [item["type"] for item in found[-1]["response"]["output"]] == ["reasoning"]


@pytest.mark.parametrize(
    "odd",
    [
        event("function_call_arguments.delta", item_id="x", output_index=0, delta="{"),
        event("function_call_arguments.done", item_id="x", output_index=0, arguments="{}"),
        event("output_text.delta", item_id="x", output_index=7, content_index=0, delta="x"),
        event("something.else", output_index=0),
    ],
    ids=lambda odd: odd["type"],
)
def test_an_event_that_its_item_cannot_have_changes_nothing(odd: Json) -> None:
    said = cut_after("output_text.delta", message())

    (item,) = broken([*said, odd])[-1]["response"]["output"]

    assert item["content"][0]["text"] == said[-1]["delta"]


def test_a_part_that_its_item_cannot_have_changes_nothing() -> None:
    said = cut_after("function_call_arguments.delta", calls())
    part = {"type": "output_text", "text": "", "annotations": []}

    found = broken([*said, event("content_part.added", item_id="x", output_index=0, content_index=0, part=part)])

    assert found[-1]["response"]["output"][0]["arguments"] == said[-1]["delta"]


def piece(text: object = "a", **more: object) -> Json:
    return {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": text} | more


def test_pieces_of_one_text_that_came_together_are_a_run() -> None:
    found = joined(
        [piece("a"), piece("b", sequence_number=7, logprobs=[]), piece("c", content_index=1), {"type": "x"}, piece("d")]
    )

    assert found == [Pieces(("m", 0, 0), ["a", "b"]), Pieces(("m", 0, 1), ["c"]), {"type": "x"}, Pieces(("m", 0, 0), ["d"])]


@pytest.mark.parametrize(
    "odd",
    [
        piece(None),
        piece(5),
        piece(obfuscation="x"),
        piece(novel=1),
        piece(logprobs=[{"token": "a", "logprob": -1.0}]),
        piece(item_id=None),
        piece(output_index=True),
        piece(output_index=-1),
        piece(content_index=2**40),
        {"type": "response.output_text.delta"},
    ],
)
def test_a_piece_that_says_more_or_has_to_be_judged_is_no_part_of_a_run(odd: Json) -> None:
    assert joined([odd]) == [odd]
