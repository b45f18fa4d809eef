"""However an answer is cut into pieces, it is the same answer; and whatever is done to it, a call ends."""

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernel.http1.wire import Rig, whole
from trivet.kernel.http1.failures import HttpError

ANY_TIME = settings(deadline=None)
BODIES = st.binary(max_size=60)
INTERIM = st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2])


@dataclass(frozen=True)
class Answer:
    """An answer as it is sent, its body, and whether only the end of the connection ends it."""

    raw: bytes
    body: bytes
    until_end: bool = False


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    head = draw(INTERIM) + b"HTTP/1.1 200 OK\r\nX-Some: thing\r\n"
    match draw(st.sampled_from(["length", "chunks", "end"])):
        case "length":
            body = draw(BODIES)
            return Answer(head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body)
        case "chunks":
            pieces = [piece for piece in draw(st.lists(BODIES, max_size=5)) if piece]
            extension = draw(st.sampled_from([b"", b";x", b";x=y"]))
            trailer = draw(st.sampled_from([b"", b"X-Trailer: 1\r\n"]))
            chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
            return Answer(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n", b"".join(pieces))
        case _:
            body = draw(BODIES)
            return Answer(head + b"\r\n" + body, body, until_end=True)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data cut at these places, which may lie behind its end."""
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


PLACES = st.lists(st.integers(0, 300), max_size=12)


async def read_beside(rig: Rig, pieces: list[bytes], *, eager: bool) -> asyncio.Future[bytes]:
    """Asks, and reads while the pieces come or after they have."""
    reading = asyncio.ensure_future(whole(rig.ask()))
    for piece in pieces:
        if eager:
            await asyncio.sleep(0)
        if not rig.wire.closed:
            rig.feed([piece])
    return reading


@ANY_TIME
@given(answers(), answers(), PLACES, st.booleans())
def test_an_answer_is_the_same_however_it_is_cut(first: Answer, second: Answer, places: list[int], eager: bool) -> None:
    async def calls() -> None:
        rig = Rig()
        for answer in (first, second):
            reading = await read_beside(rig, cut(answer.raw, places), eager=eager)
            if answer.until_end:
                rig.end()
            assert await reading == answer.body
            rig.connection.release()
            assert rig.wire.closed == answer.until_end
            if answer.until_end:
                break

    asyncio.run(calls())


@ANY_TIME
@given(answers(), st.binary(min_size=1, max_size=40), PLACES, st.booleans())
def test_what_follows_an_answer_is_never_in_it_nor_in_the_next(
    answer: Answer, rest: bytes, places: list[int], eager: bool
) -> None:
    async def calls() -> None:
        rig = Rig()
        reading = await read_beside(rig, cut(answer.raw + rest, places), eager=eager)
        assert await reading == answer.body
        rig.connection.release()
        # A line break that is too much is what some servers send; it begins nothing.
        assert rig.wire.closed or not rest.strip(b"\r\n")

    if not answer.until_end:
        asyncio.run(calls())


@ANY_TIME
@given(answers(), st.integers(0, 300), st.binary(max_size=3), st.integers(0, 3), PLACES)
def test_whatever_is_done_to_an_answer_a_call_ends(answer: Answer, place: int, put: bytes, taken: int, places: list[int]) -> None:
    async def call() -> None:
        rig = Rig()
        spoilt = answer.raw[:place] + put + answer.raw[place + taken :]
        reading = await read_beside(rig, cut(spoilt, places), eager=True)
        rig.end()
        try:
            await reading
        except HttpError:
            pass
        rig.connection.release()
        assert (rig.freed, rig.lost) == (0, 1)

    asyncio.run(call())


@ANY_TIME
@given(answers(), st.integers(0, 300), PLACES)
def test_an_answer_that_is_cut_off_is_never_taken_for_whole(answer: Answer, place: int, places: list[int]) -> None:
    async def call() -> None:
        rig = Rig()
        reading = await read_beside(rig, cut(answer.raw[:place], places), eager=True)
        rig.end()
        try:
            body = await reading
        except HttpError:
            return
        assert body == answer.body

    if place < len(answer.raw) and not answer.until_end:
        asyncio.run(call())
