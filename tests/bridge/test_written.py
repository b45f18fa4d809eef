"""Answers in one piece, as they go to aiohttp's writer."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import HttpVersion10, HttpVersion11

from trivet.bridge.written import Whole


class Writer:
    """aiohttp's writer, and the transport that it has: keeps what is written; a client that reads makes `room`."""

    def __init__(self, unsent: int = 0) -> None:
        self.written: list[bytes] = []
        self.full, self.room = asyncio.Event(), asyncio.Event()
        self.output_size = 0
        self.closing = False
        self._unsent = unsent

    @property
    def transport(self) -> "Writer":
        return self

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.written += pieces

    async def drain(self) -> None:
        self.full.set()
        await self.room.wait()


def request(writer: Writer, version: object = HttpVersion11, *, should_close: bool = False) -> Any:
    return SimpleNamespace(head=SimpleNamespace(version=version, should_close=should_close), answering=writer)


async def test_an_answer_is_one_write_and_waits_for_a_client_that_does_not_read() -> None:
    writer, answer = Writer(unsent=1 << 20), Whole(b"{}", {"Content-Type": "application/json"})
    preparing = asyncio.ensure_future(answer.prepare(request(writer)))
    await writer.full.wait()

    (written,) = writer.written
    head, _, body = written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
    assert head.endswith(b"\r\nContent-Type: application/json\r\nContent-Length: 2")
    assert (body, preparing.done()) == (b"{}", False)
    assert writer.output_size == len(written), "aiohttp tells by this whether an answer has begun"
    writer.room.set()
    await preparing


async def test_a_large_answer_is_not_copied_to_stand_behind_its_head() -> None:
    writer, content = Writer(), b"x" * 100_000
    await Whole(content, {}).prepare(request(writer))
    head, body = writer.written
    assert head.endswith(b"Content-Length: 100000\r\n\r\n")
    assert body is content
    assert writer.output_size == len(head) + len(body)


async def test_answers_in_company_leave_right_after_one_another() -> None:
    steps: list[str] = []

    async def answering(name: str) -> None:
        writer = Writer()
        steps.append(f"{name} is here")
        await Whole(b"{}", {}, has_company=True).prepare(request(writer))
        steps.append(f"{name} has left" if writer.written else f"{name} is lost")

    await asyncio.gather(answering("one"), answering("another"))
    assert steps == ["one is here", "another is here", "one has left", "another has left"]


async def test_to_a_client_that_has_left_nothing_is_written() -> None:
    writer = Writer()
    writer.closing = True
    with pytest.raises(ConnectionResetError):
        await Whole(b"{}", {}).prepare(request(writer))
    assert writer.written == []


@pytest.mark.parametrize(
    ("version", "should_close", "told"),
    [
        (HttpVersion11, False, b""),
        (HttpVersion11, True, b"close"),
        (HttpVersion10, True, b""),
        (HttpVersion10, False, b"keep-alive"),
    ],
)
async def test_the_connection_is_told_of_where_the_version_does_not_say_it(
    version: object, should_close: bool, told: bytes
) -> None:
    writer, answer = Writer(), Whole(b"{}", {})
    writer.room.set()
    await answer.prepare(request(writer, version, should_close=should_close))

    lines = writer.written[0].partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert b"".join(line.removeprefix(b"Connection: ") for line in lines if line.startswith(b"Connection: ")) == told
    assert answer.keep_alive is not should_close


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\rb", "a\nb", "a\0b"])
async def test_a_header_that_would_be_two_is_not_written(value: str) -> None:
    writer = Writer()
    with pytest.raises(ValueError, match="holds the end of a line"):
        await Whole(b"{}", {"Content-Type": value}).prepare(request(writer))
    assert writer.written == []
