"""Server-sent events of MCP servers, whatever their bytes look like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.tool_service.adapters.event_stream import MessageParser, TooLargeError

STREAM = (
    b"\xef\xbb\xbf: a comment\nevent: message\nid: 1\ndata: one\n\n"
    b"retry: 250\nid: 2\ndata:\n\n"  # only its id is of use
    b"event: ping\ndata: of another kind\n\n"
    b"data: two\ndata:three\nunknown: field\nid: with\0nothing\nretry: soon\n\n"
    b"\n\ndata: unfinished"
)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@given(cuts=st.lists(st.integers(0, len(STREAM) + 40), max_size=8))
def test_messages_are_the_same_however_they_are_cut(newline: bytes, cuts: list[int]) -> None:
    stream = STREAM.replace(b"\n", newline)
    parser = MessageParser(1000)
    found: list[bytes] = []
    before = 0
    for cut in [*sorted(cuts), len(stream)]:
        found += parser.feed(stream[before:cut])
        before = max(before, cut)

    assert found == [b"one", b"two\nthree"]
    assert (parser.last_id, parser.retry_seconds) == ("2", 0.25)


def test_another_stream_begins_without_the_rest_of_the_one_before() -> None:
    parser = MessageParser(1000)
    parser.feed(b"id: 1\ndata: half")
    parser.begin()

    assert parser.feed(b"data: whole\n\n") == [b"whole"]
    assert parser.last_id == "1"


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 200, b"data: x\n" * 40, b"x" * 200 + b"\n"])
def test_an_event_that_is_too_large_is_refused_before_it_ends(stream: bytes) -> None:
    with pytest.raises(TooLargeError):
        MessageParser(100).feed(stream)


def test_many_events_may_be_larger_together() -> None:
    assert len(MessageParser(100).feed(b"data: some bytes\n\n" * 50)) == 50
