"""One connection: how answers are framed, when it may serve another call, how long it waits, how much it takes."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.kernel.http1.wire import Rig, whole
from trivet.kernel.http1.awaited import Awaited
from trivet.kernel.http1.connection import Patience
from trivet.kernel.http1.failures import BrokenError, LateError

OK = b"HTTP/1.1 200 OK\r\n"
ANSWER = OK + b"Content-Length: 2\r\n\r\n{}"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        CHUNKED + b'2;name="value"\r\n{}\r\n0\r\nX-Checksum: 1\r\n\r\n',
        b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ANSWER,
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200\r\ncontent-LENGTH:2\r\nUpgrade: h2c\r\n\r\n{}",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    ],
)
async def test_an_answer_is_read_to_its_end_and_another_call_may_follow(answer: bytes) -> None:
    rig = Rig()
    for _ in range(2):
        connection = rig.ask()
        rig.feed([answer])
        assert await whole(connection) == b"{}"
        assert connection.status == 200
        connection.release()
    assert (rig.freed, rig.wire.closed) == (2, False)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        ANSWER + b"HTTP/1.1 200 OK\r\n",
        ANSWER + ANSWER,
        ANSWER + b"\x00",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}" + ANSWER,
    ],
)
async def test_an_answer_after_which_nothing_may_follow_is_good_and_closes(answer: bytes) -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([answer])
    assert await whole(connection) == b"{}"
    connection.release()
    assert (rig.freed, rig.wire.closed) == (0, True)


async def test_what_comes_between_two_calls_is_no_answer() -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([ANSWER])
    await whole(connection)
    connection.release()
    rig.feed([ANSWER])
    assert rig.wire.closed
    assert not connection.is_open


async def test_what_comes_before_the_first_call_is_no_answer() -> None:
    rig = Rig()
    rig.feed([ANSWER])
    assert rig.wire.closed


async def test_more_than_was_asked_for_before_the_answer_is_read_costs_the_connection() -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([ANSWER, ANSWER])
    assert await whole(connection) == b"{}"
    connection.release()
    assert (rig.freed, rig.wire.closed) == (0, True)


@pytest.mark.parametrize("head", [OK + b"\r\n", b"HTTP/1.0 200 OK\r\n\r\n", OK + b"Connection: close\r\n\r\n"])
async def test_a_body_that_nothing_ends_is_ended_by_the_connection(head: bytes) -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([head, b"some", b"thing"])
    rig.end()
    assert await whole(connection) == b"something"
    connection.release()
    assert (rig.freed, rig.lost) == (0, 1)


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"HTTP/1.1 20",
        OK + b"Content-Le",
        OK + b"Content-Length: 3\r\n\r\n{}",
        CHUNKED + b"2\r\n{}\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_an_end_before_the_end_is_broken(begun: bytes, error: Exception | None) -> None:
    rig = Rig()
    connection = rig.ask()
    reading = asyncio.ensure_future(whole(connection))
    await asyncio.sleep(0)
    if begun:
        rig.feed([begun])
    rig.end(error)
    with pytest.raises(BrokenError):
        await reading
    connection.release()
    assert (rig.freed, rig.lost) == (0, 1)


async def test_a_body_that_nothing_ends_is_broken_by_a_reset() -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([OK + b"\r\nsome"])
    rig.end(ConnectionResetError())
    with pytest.raises(BrokenError):
        await whole(connection)


async def test_what_came_before_the_fault_is_read_first() -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([CHUNKED + b"2\r\nab\r\n", b"zz\r\n"])
    await connection.head()
    assert await connection.read() == b"ab"
    with pytest.raises(BrokenError):
        await connection.read()
    assert rig.wire.closed


@pytest.mark.parametrize(
    "answer",
    [
        b"\x16\x03\x01",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"Content-Length: two\r\n\r\n{}",
        OK + b"Content-Length: -1\r\n\r\n{}",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        OK + b"Content-Length: 99999999999999999999999999\r\n\r\n{}",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n",
        CHUNKED + b"ffffffffffffffffff\r\n{}",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_broken(answer: bytes) -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([answer])
    with pytest.raises(BrokenError):
        await whole(connection)
    connection.release()
    assert (rig.freed, rig.wire.closed) == (0, True)


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (OK, b"X-More: and more of it\r\n"),
        (OK + b"X-Long: ", b"x" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-Trailer: and more of it\r\n"),
        (CHUNKED + b"2", b";extension"),
    ],
)
async def test_what_is_no_body_has_an_end(begun: bytes, more: bytes) -> None:
    rig = Rig()
    connection = rig.ask()
    reading = asyncio.ensure_future(whole(connection))
    rig.feed([begun] if begun else [])
    fed = 0
    while not rig.wire.closed:
        assert fed < 200_000
        await asyncio.sleep(0)
        rig.feed([more])
        fed += len(more)
    with pytest.raises(BrokenError):
        await reading


async def test_what_is_ready_together_is_read_together() -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([CHUNKED + b"2\r\nab\r\n2\r\ncd\r\n", b"2\r\nef\r\n"])
    await connection.head()
    assert await connection.read() == b"abcdef"
    rig.feed([b"2\r\ngh\r\n0\r\n\r\n"])
    assert [await connection.read(), await connection.read()] == [b"gh", b""]


async def test_a_slow_reader_stops_the_sender_and_lets_it_go_on() -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([OK + b"Content-Length: 1000000\r\n\r\n"])
    taken = 0
    while rig.wire.reading:
        rig.feed([bytes(10_000)])
        taken += 10_000
    assert taken < 400_000
    await connection.head()
    assert len(await connection.read()) == taken
    assert rig.wire.reading
    rig.feed([bytes(1_000_000 - taken)])
    assert len(await connection.read()) == 1_000_000 - taken
    assert connection.complete


async def test_a_call_that_is_left_while_the_sender_is_stopped_closes() -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([OK + b"Content-Length: 400000\r\n\r\n", bytes(300_000)])
    assert not rig.wire.reading
    connection.release()
    assert (rig.freed, rig.wire.closed) == (0, True)


async def test_headers_of_one_answer_are_not_those_of_the_next() -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([OK + b"X-First: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: 1\r\n\r\n"])
    await whole(connection)
    assert connection.headers == {b"x-first": b"1", b"transfer-encoding": b"chunked"}
    connection.release()
    rig.ask()
    rig.feed([ANSWER])
    await whole(connection)
    assert connection.headers == {b"content-length": b"2"}


async def test_a_failed_call_leaves_nothing_to_read_for_the_next() -> None:
    rig = Rig()
    connection = rig.ask()
    rig.feed([ANSWER])
    connection.release()
    rig.ask()
    reading = asyncio.ensure_future(connection.read())
    await asyncio.sleep(0)
    assert not reading.done()
    rig.feed([OK + b"Content-Length: 3\r\n\r\nnew"])
    assert await reading == b"new"


async def test_small_and_large_bodies_follow_their_head() -> None:
    for body in (b"small", bytes(100_000)):
        rig = Rig()
        rig.ask(body)
        assert rig.wire.sent == b"POST / HTTP/1.1\r\n\r\n" + body


# ---- time ----------------------------------------------------------------------------------------------------------


async def test_each_piece_gives_the_next_one_its_time() -> None:
    rig = Rig(Patience(read=10, total=1000))
    connection = rig.ask()
    rig.clock.set(9)
    rig.feed([CHUNKED])
    for now in range(10, 100):
        rig.clock.set(now)
        rig.feed([b"1\r\nx\r\n"])
    rig.clock.set(108)
    assert not rig.wire.closed
    rig.clock.set(109)
    assert rig.wire.closed
    await connection.head()
    assert await connection.read() == b"x" * 90
    with pytest.raises(LateError):
        await connection.read()


async def test_a_call_has_a_time_for_all_of_it() -> None:
    rig = Rig(Patience(read=10, total=25))
    connection = rig.ask()
    rig.feed([CHUNKED])
    for now in range(0, 25, 5):
        rig.clock.set(now)
        rig.feed([b"1\r\nx\r\n"])
    await connection.head()
    await connection.read()
    rig.clock.set(25)
    with pytest.raises(LateError):
        await connection.read()


async def test_a_first_answer_that_does_not_come_is_late() -> None:
    rig = Rig(Patience(read=10, total=100))
    connection = rig.ask()
    waiting = asyncio.ensure_future(connection.head())
    await asyncio.sleep(0)
    rig.clock.set(10)
    with pytest.raises(LateError):
        await waiting
    connection.release()
    assert (rig.freed, rig.wire.closed) == (0, True)


async def test_the_time_of_a_call_is_its_own() -> None:
    rig = Rig(Patience(read=10, total=100))
    for start in range(0, 50, 6):
        rig.clock.set(start)
        connection = rig.ask()
        rig.clock.set(start + 5)
        rig.feed([ANSWER])
        await whole(connection)
        connection.release()
    assert len(rig.clock.timers) == 1
    rig.clock.set(1000)
    assert (rig.freed, rig.wire.closed, rig.clock.timers) == (9, False, [])
    rig.ask()
    rig.clock.set(1010)
    assert rig.wire.closed


async def test_a_reader_that_is_slow_itself_does_not_make_the_sender_late() -> None:
    rig = Rig(Patience(read=10, total=1000))
    connection = rig.ask()
    rig.feed([OK + b"Content-Length: 400000\r\n\r\n", bytes(300_000)])
    rig.clock.set(500)
    await connection.head()
    assert len(await connection.read()) == 300_000
    rig.clock.set(509)
    assert not rig.wire.closed
    rig.clock.set(510)
    with pytest.raises(LateError):
        await connection.read()


async def test_a_closed_connection_has_no_timer() -> None:
    rig = Rig()
    rig.ask()
    rig.end()
    assert rig.clock.timers == []


async def test_a_body_that_is_being_sent_does_not_make_the_answer_late() -> None:
    rig = Rig(Patience(read=10, total=1000))
    gate = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"one"
        await gate.wait()
        yield b"two"

    connection = rig.ask()
    connection.upload(pieces(), None)
    await asyncio.sleep(0)
    rig.clock.set(500)
    assert not rig.wire.closed
    gate.set()
    while not rig.wire.sent.endswith(b"0\r\n\r\n"):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert rig.wire.sent.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    rig.clock.set(510)
    with pytest.raises(LateError):
        await connection.head()


async def test_leaving_a_wait_leaves_the_connection_as_it_is_until_it_is_released() -> None:
    rig = Rig()
    connection = rig.ask()
    waiting = asyncio.ensure_future(connection.head())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    rig.feed([ANSWER])
    assert await whole(connection) == b"{}"
    connection.release()
    assert rig.freed == 1


async def test_what_comes_while_somebody_waits_is_offered_first() -> None:
    rig, offered, refused = Rig(), list[bytes](), {b"no"}
    connection = rig.ask()
    connection.taker = lambda data: data not in refused and not offered.append(data)
    rig.feed([CHUNKED, b"2\r\nno\r\n"])
    await connection.head()
    assert await connection.read() == b"no"

    reading = asyncio.create_task(connection.read())
    await asyncio.sleep(0)
    rig.feed([b"1\r\na\r\n", b"1\r\nb\r\n1\r\nc\r\n"])
    await asyncio.sleep(0)
    assert (offered, reading.done()) == ([b"a", b"bc"], False)

    rig.feed([b"2\r\nno\r\n", b"1\r\ne\r\n"])
    assert await reading == b"noe", "nothing overtakes what is not read yet"
    rig.feed([b"1\r\nf\r\n"])
    assert await connection.read() == b"f", "nobody waited for it"
    assert offered == [b"a", b"bc"]


async def test_the_end_of_an_answer_and_the_answers_of_later_calls_are_not_offered() -> None:
    rig, offered = Rig(), list[bytes]()
    connection = rig.ask()
    connection.taker = lambda data: not offered.append(data)
    reading = asyncio.create_task(whole(connection))
    await asyncio.sleep(0)
    rig.feed([CHUNKED + b"1\r\na\r\n0\r\n\r\n"])
    assert await reading == b"a"
    connection.release()

    connection = rig.ask()
    reading = asyncio.create_task(whole(connection))
    await asyncio.sleep(0)
    rig.feed([CHUNKED, b"1\r\nb\r\n", b"0\r\n\r\n"])
    assert await reading == b"b"
    assert offered == []


@pytest.mark.parametrize(
    ("besides", "first", "rest"),
    [
        (Awaited.WHOLE, OK + b"Content-Length: 2\r\n\r\n{", b"}"),
        (Awaited.WHOLE, OK[:9], OK[9:] + b"Content-Length: 2\r\n\r\n{}"),
        (Awaited.BEGINNING, CHUNKED, b"2\r\n{}\r\n0\r\n\r\n"),
        (Awaited.BEGINNING, CHUNKED, b"0\r\n\r\n"),
    ],
)
async def test_who_waits_for_more_than_the_head_is_woken_when_it_is_there(besides: Awaited, first: bytes, rest: bytes) -> None:
    rig = Rig()
    connection = rig.ask()
    waiting = asyncio.ensure_future(connection.head(besides))
    await asyncio.sleep(0)
    rig.feed([first])
    await asyncio.sleep(0)
    assert not waiting.done()
    rig.feed([rest])
    await waiting
    assert connection.complete


@pytest.mark.parametrize(
    ("besides", "data"),
    [
        (Awaited.WHOLE, CHUNKED),
        (Awaited.WHOLE, OK + b"Content-Length: 400000\r\n\r\n" + bytes(300_000)),
        (Awaited.BEGINNING, CHUNKED + b"1\r\n{\r\n"),
        (Awaited.NOTHING, OK + b"Content-Length: 2\r\n\r\n"),
    ],
)
async def test_nobody_waits_for_what_may_never_be_there_together(besides: Awaited, data: bytes) -> None:
    rig = Rig()
    connection = rig.ask()
    waiting = asyncio.ensure_future(connection.head(besides))
    await asyncio.sleep(0)
    rig.feed([data])
    await waiting
    assert connection.status == 200


async def test_a_connection_that_ends_between_head_and_body_ends_the_wait_for_both() -> None:
    rig = Rig()
    connection = rig.ask()
    waiting = asyncio.ensure_future(connection.head(Awaited.WHOLE))
    await asyncio.sleep(0)
    rig.feed([OK + b"Content-Length: 2\r\n\r\n"])
    connection.eof_received()
    await waiting
    with pytest.raises(BrokenError):
        await connection.read()
