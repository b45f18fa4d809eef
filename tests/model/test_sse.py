"""The SSE parser: every form the standard allows, split anywhere."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.adapters.sse import SseEvent, SseParser


def parsed(*pieces: bytes, limit: int = 1 << 20) -> list[SseEvent]:
    parser = SseParser(limit)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: {}\n\n", [("", b"{}")]),
        (b"data:{}\n\n", [("", b"{}")]),
        (b"data:  two spaces\n\n", [("", b" two spaces")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [("", b"a"), ("", b"b")]),
        (b"data: a\r\rdata: b\r\r", [("", b"a"), ("", b"b")]),
        (b"data: a\n\r\ndata: b\r\n\n", [("", b"a"), ("", b"b")]),
        (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
        (b": ping\n\n: ping\n\ndata: a\n: in between\n\n", [("", b"a")]),
        (b"event: delta\ndata: a\n\n", [("delta", b"a")]),
        (b"data: a\nevent: delta\n\n", [("delta", b"a")]),
        (b"event: delta\ndata: a\n\ndata: b\n\n", [("delta", b"a"), ("", b"b")]),
        (b"id: 7\nretry: 10\nx: y\ndata: a\n\n", [("", b"a")]),
        (b"data\n\n", [("", b"")]),
        (b"event: alone\n\ndata: a\n\n", [("", b"a")]),
        (b"\n\n\n\n\ndata: a\n\n\n\n", [("", b"a")]),
        (b"data: a\n\ndata: unfinished", [("", b"a"), ("", b"unfinished")]),
        (b"data: a\n", [("", b"a")]),
        (b"data: [DONE]", [("", b"[DONE]")]),
        (b"data: a: b\n\n", [("", b"a: b")]),
        (b"", []),
        (b"\xef\xbb\xbf", []),
    ],
)
def test_reads_every_form_and_any_split_in_two(stream: bytes, events: list[tuple[str, bytes]]) -> None:
    wanted = [SseEvent(*event) for event in events]
    assert parsed(stream) == wanted
    for cut in range(len(stream) + 1):
        assert parsed(stream[:cut], stream[cut:]) == wanted, cut


_lines = st.sampled_from(
    ["data: {}", "data: ü€😀", "data:", "data", "event: e", ": comment", "id: 1", "retry: 5", "unknown: x", "", "", ""]
)
_stream = st.lists(st.tuples(_lines, st.sampled_from(["\n", "\r\n", "\r"])), max_size=30).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


@given(stream=_stream, bom=st.booleans(), cuts=st.lists(st.integers(0, 400), max_size=20))
def test_how_the_bytes_are_split_changes_nothing(stream: bytes, bom: bool, cuts: list[int]) -> None:
    stream = b"\xef\xbb\xbf" * bom + stream
    marks = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:end] for start, end in itertools.pairwise(marks)]
    single_bytes = [stream[at : at + 1] for at in range(len(stream))]
    assert parsed(*pieces) == parsed(stream) == parsed(*single_bytes) == _by_the_standard(stream)


def _by_the_standard(stream: bytes) -> list[SseEvent]:
    """The standard's own line-by-line algorithm, slow and plain."""
    text = stream.removeprefix(b"\xef\xbb\xbf").decode().replace("\r\n", "\n").replace("\r", "\n")
    events: list[SseEvent] = []
    name, data = "", list[str]()
    for line in [*text.split("\n"), ""]:
        field, _, value = line.partition(":")
        if not line:
            if data:
                events.append(SseEvent(name, "\n".join(data).encode()))
            name, data = "", []
        elif field in {"data", "event"}:
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            else:
                name = value
    return events


def test_an_event_comes_out_as_soon_as_its_blank_line_is_there() -> None:
    parser = SseParser(100)
    assert parser.feed(b"data: a\r\n\r") == [SseEvent("", b"a")]
    assert parser.feed(b"\ndata: b\n\n") == [SseEvent("", b"b")]


@pytest.mark.parametrize("pieces", [[b"data: " + b"x" * 100 + b"\n\n"], [b"data: xx\n"] * 20, [b"x"] * 101])
def test_an_event_above_the_limit_is_an_upstream_failure(pieces: list[bytes]) -> None:
    with pytest.raises(UpstreamFailed):
        parsed(*pieces, limit=100)


def test_many_small_events_do_not_add_up_to_the_limit() -> None:
    assert len(parsed(b"data: 12345\n\n" * 100, limit=100)) == 100


@pytest.mark.parametrize(
    ("before", "data", "asked"),
    [
        (b"data: a\n\n", b"data: b\n\n", True),
        (b"data: a\n\n: ping\n\n", b"data: b\n\n", True),
        (b"", b"data: b\n\n", False),
        (b"data: a\n\nda", b"ta: b\n\n", False),
        (b"data: a\n\ndata: x\n", b"data: b\n\n", False),
        (b"data: a\r\n\r", b"data: b\n\n", False),
        (b"data: a\n\n", b"data: " + b"b" * 40 + b"\n\n", False),
    ],
)
def test_bytes_are_offered_only_where_an_event_begins(before: bytes, data: bytes, asked: bool) -> None:
    parser, offered = SseParser(40), list[bytes]()
    taker = parser.before(lambda given: not offered.append(given))
    parser.feed(before)

    assert taker(data) is asked
    assert offered == [data] * asked
