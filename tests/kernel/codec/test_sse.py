"""The messages of a stream become server-sent events."""

from typing import Any

import orjson
import pytest

from tests.kernel.codec import sample
from trivet.kernel.codec.shape import ShapeError
from trivet.kernel.codec.sse import StreamCodec, stream_codec

NAMED = sample.SERVICE.methods_by_name["Stream"]
COMMON = sample.SERVICE.methods_by_name["Plain"]


def batch(*events: dict[str, Any]) -> Any:
    return sample.message("Batch")(events=events)


def chunks(*names: str, **common: Any) -> Any:
    return sample.message("Chunks")(chunks=[{"choices": [{"name": name}]} for name in names], **common)


def test_all_events_of_a_message_are_one_text() -> None:
    frames = stream_codec(NAMED).open().frames(batch({"delta": {"delta": "a"}}, {"done": {"id": "1"}}))

    assert frames.count(b"\n\n") == 2
    assert frames.startswith(b'event: output.delta\ndata: {"type":"output.delta","item_id":"",')
    assert b'\n\nevent: output.done\ndata: {"type":"output.done","object":"answer","id":"1",' in frames


def test_a_message_without_events_is_no_text() -> None:
    assert stream_codec(NAMED).open().frames(batch()) == b""


def test_an_event_of_no_known_shape_is_named_by_its_own_discriminator() -> None:
    frames = stream_codec(NAMED).open().frames(batch({"unknown": '{"type":"output.new","x":1}'}))

    assert frames == b'event: output.new\ndata: {"type":"output.new","x":1}\n\n'


@pytest.mark.parametrize("raw", ['{"type":"a\\ndata: forged"}', '{"type":5}', "[1]"])
def test_an_event_without_a_proper_name_has_no_event_line(raw: str) -> None:
    frames = stream_codec(NAMED).open().frames(batch({"unknown": raw}))

    assert frames == f"data: {raw}\n\n".encode()


@pytest.mark.parametrize("character", ["\u0085", "\u2028", "\u2029"])
def test_what_some_clients_take_for_the_end_of_a_line_is_escaped(character: str) -> None:
    words = f"a{character}é"

    for event in ({"unknown": orjson.dumps({"type": "x", "text": words}).decode()}, {"delta": {"delta": words}}):
        frames = stream_codec(NAMED).open().frames(batch(event))

        assert words in orjson.loads(frames.partition(b"data: ")[2]).values()
        assert len(frames.decode().splitlines()) == 3


def test_what_is_common_to_the_stream_stands_in_each_event() -> None:
    stream = stream_codec(COMMON).open()

    first = stream.frames(chunks("a", id="1", created=7))
    second = stream.frames(chunks("b", "c"))

    common = b'data: {"object":"chunk","id":"1","created":7,"tier":null,'
    assert first == common + b'"choices":[{"name":"a"}]}\n\n'
    assert second == common + b'"choices":[{"name":"b"}]}\n\n' + common + b'"choices":[{"name":"c"}]}\n\n'


def test_what_is_common_can_change_or_come_before_the_first_event() -> None:
    stream = stream_codec(COMMON).open()

    assert stream.frames(chunks(id="1", created=7)) == b""
    frames = stream.frames(chunks("b", tier="flex"))

    assert frames.startswith(b'data: {"object":"chunk","id":"1","created":7,"tier":"flex","choices"')


def test_streams_do_not_share_what_is_common() -> None:
    stream_codec(COMMON).open().frames(chunks(id="1"))

    assert b'"id":""' in stream_codec(COMMON).open().frames(chunks("a"))


def test_an_event_is_written_the_same_however_often_it_comes() -> None:
    names = [str(number) for number in range(1000)]

    first, again = (stream_codec(COMMON).open().frames(chunks("a", *names, "a")).split(b"\n\n") for _ in range(2))

    assert first == again
    assert first[0] == first[-2]
    assert [orjson.loads(frame[6:])["choices"][0]["name"] for frame in first[:-1]] == ["a", *names, "a"]


def test_the_end_of_a_stream_is_the_dialects() -> None:
    assert stream_codec(NAMED).open().end == b"data: [DONE]\n\n"
    assert stream_codec(COMMON).open().end == b""


def test_a_method_without_the_option_is_a_mistake() -> None:
    with pytest.raises(ShapeError, match="names no repeated field"):
        StreamCodec(sample.SERVICE.methods_by_name["Get"])
