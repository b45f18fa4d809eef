"""The codec, for each kind of message that is hot: JSON to a message and back, beside code written by hand and `json_format`."""

import json
from collections.abc import Callable
from typing import Any

import orjson
import pyperf
from google.protobuf import json_format
from google.protobuf.message import Message

from bench.micro.timing import bench
from bench.upstream import dialects
from bench.upstream.scripts import PLAIN
from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.sse import stream_codec
from trivet.model.v1 import model_service_pb2
from trivet.model.v1.response_event_body_pb2 import OutputTextDeltaEvent
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest

BATCH = 20

_TEXTS = dialects.words(PLAIN.size)
_CHUNK = orjson.dumps({"choices": [{"index": 0, "delta": {"content": " world"}, "finish_reason": None, "logprobs": None}]})
_EVENT = {
    "type": "response.output_text.delta",
    "sequence_number": 42,
    "item_id": "msg_67ccd2bf17f0819081ff3bb2cf6508e6",
    "output_index": 0,
    "content_index": 0,
    "delta": " world",
    "logprobs": [],
}
_EVENT_TEXT = orjson.dumps(_EVENT)

KINDS: dict[str, tuple[type[Message], bytes]] = {
    "chat request": (
        CreateChatCompletionRequest,
        json.dumps({"model": "bench/m", "messages": [{"role": "user", "content": PLAIN.prompt()}], "stream": True}).encode(),
    ),
    "chat answer": (ChatCompletion, dialects.Chat.whole(_TEXTS)),
    "chat chunk": (ChatCompletionChunk, _CHUNK),
    "response request": (
        CreateResponseRequest,
        json.dumps({"model": "bench/m", "input": PLAIN.prompt(), "store": False}).encode(),
    ),
    "response": (Response, dialects.Responses.whole(_TEXTS)),
    "response delta": (ResponseEvent, _EVENT_TEXT),
}


def add_to(runner: pyperf.Runner) -> None:
    """Add the benchmarks."""
    for kind, (message_class, text) in KINDS.items():
        codec = codec_for(message_class)
        bench(runner, f"codec: decode {kind}", codec.loads, text)
        bench(runner, f"codec: encode {kind}", codec.dumps, codec.loads(text))
    bench(runner, "codec: decode chat request, a caller's", _strict(CreateChatCompletionRequest), KINDS["chat request"][1])
    _add_comparisons(runner)
    _add_streams(runner)


def _strict(message_class: type[Message]) -> Callable[[bytes], Message]:
    codec = codec_for(message_class)
    return lambda text: codec.loads(text, strict=True)


def _add_comparisons(runner: pyperf.Runner) -> None:
    message = codec_for(ResponseEvent).loads(_EVENT_TEXT)
    assert _decoded_by_hand(_EVENT_TEXT) == message
    assert orjson.loads(_encoded_by_hand(message)) == _EVENT
    told = json_format.MessageToJson(message)
    bench(runner, "by hand: decode response delta, unchecked", _decoded_by_hand, _EVENT_TEXT)
    bench(runner, "by hand: encode response delta", _encoded_by_hand, message)
    bench(runner, "json_format: decode response delta", lambda: json_format.Parse(told, ResponseEvent()))
    bench(runner, "json_format: encode response delta", json_format.MessageToJson, message)


def _decoded_by_hand(text: bytes) -> ResponseEvent:
    value = orjson.loads(text)
    event = OutputTextDeltaEvent(
        sequence_number=value["sequence_number"],
        item_id=value["item_id"],
        output_index=value["output_index"],
        content_index=value["content_index"],
        delta=value["delta"],
        logprobs=value["logprobs"],
    )
    return ResponseEvent(output_text_delta=event)


def _encoded_by_hand(message: ResponseEvent) -> bytes:
    event = message.output_text_delta
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


def _add_streams(runner: pyperf.Runner) -> None:
    """Frames of server-sent events of a message with many events, per event."""
    methods = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].methods_by_name
    chunk, event = codec_for(ChatCompletionChunk).loads(_CHUNK), codec_for(ResponseEvent).loads(_EVENT_TEXT)
    batches: dict[str, Any] = {
        "StreamChatCompletion": ChatCompletionChunkBatch(id="chatcmpl-1", created=1, model="bench/m", chunks=[chunk] * BATCH),
        "StreamResponse": ResponseEventBatch(events=[event] * BATCH),
    }
    for name, batch in batches.items():
        stream = stream_codec(methods[name]).open()
        bench(runner, f"frames: {name}, {BATCH} in a message", stream.frames, batch, each=BATCH)
