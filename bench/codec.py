"""What the codec costs for one small delta event, against code written by hand for it and against `json_format`.

    .venv/bin/python bench/codec.py

Prints the time of one event in microseconds and its ratio to the code written by hand, all from one run.
"""

import timeit
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf import json_format

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.sse import stream_codec
from trivet.model.v1 import model_service_pb2
from trivet.model.v1.response_event_body_pb2 import OutputTextDeltaEvent
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch

ROUNDS = 9
CALLS = 20_000
BATCH = 20

EVENT = {
    "type": "response.output_text.delta",
    "sequence_number": 42,
    "item_id": "msg_67ccd2bf17f0819081ff3bb2cf6508e6",
    "output_index": 0,
    "content_index": 0,
    "delta": " world",
    "logprobs": [],
}
TEXT = orjson.dumps(EVENT)
CODEC = codec_for(ResponseEvent)
MESSAGE = CODEC.loads(TEXT)
PROTO_JSON = json_format.MessageToJson(MESSAGE)
STREAM = stream_codec(model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].methods_by_name["StreamResponse"]).open()
MESSAGES = ResponseEventBatch(events=[MESSAGE] * BATCH)


def encode_by_hand() -> bytes:
    event = MESSAGE.output_text_delta
    return orjson.dumps(
        {
            "type": "response.output_text.delta",
            "sequence_number": event.sequence_number,
            "item_id": event.item_id,
            "output_index": event.output_index,
            "content_index": event.content_index,
            "delta": event.delta,
            "logprobs": list(event.logprobs),
        }
    )


def decode_by_hand() -> ResponseEvent:
    value = orjson.loads(TEXT)
    event = OutputTextDeltaEvent(
        sequence_number=value["sequence_number"],
        item_id=value["item_id"],
        output_index=value["output_index"],
        content_index=value["content_index"],
        delta=value["delta"],
        logprobs=value["logprobs"],
    )
    return ResponseEvent(output_text_delta=event)


def microseconds(call: Callable[[], Any], events: int = 1) -> float:
    """The time of one event: the best of several rounds, which has the least of other processes in it."""
    return min(timeit.repeat(call, number=CALLS // events, repeat=ROUNDS)) / CALLS * 1e6


def compare(title: str, by_hand: Callable[[], Any], others: dict[str, tuple[Callable[[], Any], int]]) -> None:
    base = microseconds(by_hand)
    print(f"{title:34}{base:8.2f} us    1.0 x")
    for name, (call, events) in others.items():
        cost = microseconds(call, events)
        print(f"{'  ' + name:34}{cost:8.2f} us  {cost / base:5.1f} x")


def main() -> None:
    assert orjson.loads(CODEC.dumps(MESSAGE)) == orjson.loads(encode_by_hand()) == EVENT
    assert decode_by_hand() == MESSAGE
    compare(
        "encode, by hand",
        encode_by_hand,
        {
            "codec": (lambda: CODEC.dumps(MESSAGE), 1),
            f"server-sent events, {BATCH} a message": (lambda: STREAM.frames(MESSAGES), BATCH),
            "json_format": (lambda: json_format.MessageToJson(MESSAGE), 1),
        },
    )
    compare(
        "decode, by hand, unchecked",
        decode_by_hand,
        {
            "codec, a neighbour's": (lambda: CODEC.loads(TEXT), 1),
            "codec, a caller's (strict)": (lambda: CODEC.loads(TEXT, strict=True), 1),
            "json_format": (lambda: json_format.Parse(PROTO_JSON, ResponseEvent()), 1),
        },
    )


if __name__ == "__main__":
    main()
