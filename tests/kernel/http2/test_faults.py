"""Callers that do what HTTP/2 forbids, or that only want to keep us busy."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import SERVICE, Probe, ProbeStub, add_probe_to_server
from trivet.kernel.client import connect
from trivet.kernel.http2 import frames, hpack, serving
from trivet.kernel.http2.frames import END_STREAM, PREFACE, Fault
from trivet.kernel.http2.messages import timeout_text
from trivet.kernel.rpc import Context
from trivet.kernel.server import Server
from trivet.kernel.settings import ServerSettings, unix_path

ASKED = StringValue(value="hello")


def call(number: int = 1, method: str = "Echo", *more: tuple[str, str], flags: int = 0) -> bytes:
    fields = ((":method", "POST"), (":path", f"/{SERVICE}/{method}"), ("content-type", "application/grpc"), ("te", "trailers"))
    return frames.headers(number, hpack.block(*fields, *more), flags)


class Caller:
    """A connection of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def frame(self) -> tuple[int, int, int, bytes]:
        head = await self._reader.readexactly(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return kind, flags, stream, await self._reader.readexactly(int.from_bytes(head[:3], "big"))

    async def until(self, wanted: int) -> tuple[int, int, int, bytes]:
        async with asyncio.timeout(30):
            while (found := await self.frame())[0] != wanted:
                pass
        return found

    async def fault(self) -> int:
        """Why the connection is ended, after which it is."""
        _, _, _, payload = await self.until(frames.GOAWAY)
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                while await self._reader.read(65_536):
                    pass
        return frames.word(payload, 4)

    async def status(self) -> str:
        """The status of the next call that ends without an answer."""
        _, flags, _, payload = await self.until(frames.HEADERS)
        assert flags & END_STREAM
        return dict(hpack.Decoder().decode(payload, 1 << 20))["grpc-status"]


@pytest.fixture
async def server(probe: Probe, tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(ServerSettings(grpc=f"unix:{tmp_path / 'trivet.sock'}"), None)
    server.add(add_probe_to_server, probe)
    async with server:
        yield server


@pytest.fixture
async def caller(server: Server) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_unix_connection(unix_path(server.address))
    writer.write(PREFACE + frames.settings({}))
    yield Caller(reader, writer)
    writer.close()


HUGE = frames.frame(frames.HEADERS, 0, 1, b"\x00")
FORBIDDEN = {
    "a frame that is too large": (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", Fault.FRAME_SIZE),
    "no header block": (frames.headers(1, b"\xff\xff\xff\xff\xff\xff\xff\xff"), Fault.COMPRESSION),
    "an even stream": (call(2), Fault.PROTOCOL),
    "a block that is interrupted": (HUGE + frames.frame(frames.PING, 0, 0, b"8" * 8), Fault.PROTOCOL),
    "a continuation of nothing": (frames.frame(frames.CONTINUATION, 0, 1, b"x"), Fault.PROTOCOL),
    "continuations without an end": (HUGE + frames.frame(frames.CONTINUATION, 0, 1, b"x" * 16_000) * 9, Fault.ENHANCE_YOUR_CALM),
    "empty continuations": (HUGE + frames.frame(frames.CONTINUATION, 0, 1), Fault.ENHANCE_YOUR_CALM),
    "more padding than frame": (frames.frame(frames.DATA, frames.PADDED, 1, b"\x05x"), Fault.PROTOCOL),
    "a window without bounds": (frames.window_update(0, 2**31 - 1) * 2, Fault.FLOW_CONTROL),
    "a first window without bounds": (frames.settings({frames.INITIAL_WINDOW: 2**31}), Fault.FLOW_CONTROL),
    "more than there is room for": (
        call(1, "Stall")
        + frames.message(1, b"\x0a\x00")
        + frames.frame(frames.DATA, 0, 1, frames.message_head(1) + b"x") * 200_000,
        Fault.FLOW_CONTROL,
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
async def test_what_is_forbidden_ends_the_connection_and_no_other(what: str, caller: Caller, server: Server):
    sent, fault = FORBIDDEN[what]
    caller.writer.write(sent)
    assert await caller.fault() == fault
    async with connect(server.address) as channel:
        assert (await ProbeStub(channel).Echo(ASKED)).value == "hello"


async def test_whoever_speaks_something_else_is_sent_away(server: Server):
    reader, writer = await asyncio.open_unix_connection(unix_path(server.address))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await Caller(reader, writer).fault() == Fault.PROTOCOL
    writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (call(1, "Echo", ("grpc-timeout", "soon")), "13"),
        (call(1, "Echo", ("x-raw-bin", "!!")), "13"),
        (call(1, "Echo", flags=END_STREAM), "13"),
        (call() + frames.frame(frames.DATA, END_STREAM, 1, frames.message_head(5) + b"12"), "13"),
        (call() + frames.message(1, b"") + frames.message(1, b"", END_STREAM), "13"),
        (call() + frames.frame(frames.DATA, 0, 1, frames.message_head(2**30)), "8"),
        (call(1, "Echo", ("grpc-encoding", "snappy")) + frames.frame(frames.DATA, 0, 1, b"\x01\x00\x00\x00\x01x"), "12"),
        (frames.headers(1, hpack.block((":method", "GET"), (":path", "/"))), "13"),
    ],
)
async def test_a_call_that_makes_no_sense_is_refused_and_its_connection_goes_on(sent: bytes, status: str, caller: Caller):
    caller.writer.write(sent)
    assert await caller.status() == status
    caller.writer.write(call(3) + frames.message(3, ASKED.SerializeToString(), END_STREAM))
    _, _, stream, payload = await caller.until(frames.DATA)
    assert (stream, payload[5:]) == (3, ASKED.SerializeToString())


async def test_too_many_metadata_are_refused_and_the_connection_goes_on(caller: Caller):
    caller.writer.write(call(1, "Echo", *[("x-a", "b" * 8000)] * 9))
    assert await caller.status() == "8"


async def test_a_caller_that_never_reads_what_it_asks_for_is_left(caller: Caller):
    async def ask() -> None:
        while True:
            caller.writer.write(frames.frame(frames.PING, 0, 0, b"8" * 8) * 1000)
            await caller.writer.drain()

    caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(ask(), 30)


async def test_padding_and_priorities_are_passed_over(caller: Caller):
    head = call()[9:]
    padded = b"\x03" + b"\x00" * 5 + head + b"\x00" * 3
    caller.writer.write(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED | frames.PRIORITIZED, 1, padded))
    message = frames.message(1, ASKED.SerializeToString())[9:]
    caller.writer.write(frames.frame(frames.DATA, END_STREAM | frames.PADDED, 1, b"\x02" + message + b"\x00\x00"))
    _, _, _, payload = await caller.until(frames.DATA)
    assert payload[5:] == ASKED.SerializeToString()


async def test_a_call_in_pieces_of_a_byte_is_answered(caller: Caller):
    for byte in call() + frames.message(1, ASKED.SerializeToString(), END_STREAM):
        caller.writer.write(bytes((byte,)))
        await caller.writer.drain()
        await asyncio.sleep(0)
    _, _, _, payload = await caller.until(frames.DATA)
    assert payload[5:] == ASKED.SerializeToString()


@pytest.mark.parametrize(("seconds", "told"), [(0.0001, b"1m"), (1.5, b"1501m"), (200_000.0, b"200001S"), (1e12, b"99999999S")])
def test_a_timeout_is_never_told_shorter_than_it_is(seconds: float, told: bytes):
    assert timeout_text(seconds) == told


async def test_more_calls_than_are_taken_at_a_time_are_refused_one_by_one(caller: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serving, "_MOST_STREAMS", 2)
    caller.writer.write(call(1) + call(3) + call(5))
    _, _, stream, payload = await caller.until(frames.RESET)
    assert (stream, frames.word(payload)) == (5, Fault.REFUSED_STREAM)
    caller.writer.write(frames.message(1, ASKED.SerializeToString(), END_STREAM))
    assert (await caller.until(frames.DATA))[2] == 1


async def test_trailing_metadata_that_can_not_be_sent_end_the_call_all_the_same(tmp_path: Path):
    class Careless(Probe):
        async def Echo(self, request: StringValue, context: Context) -> StringValue:
            context.set_trailing_metadata((("x-own", "two\nlines"),))
            return request

    server = Server(ServerSettings(grpc=f"unix:{tmp_path / 'trivet.sock'}"), None)
    server.add(add_probe_to_server, Careless())
    async with server, connect(server.address) as channel:
        assert await ProbeStub(channel).Echo(ASKED).code() is grpc.StatusCode.INTERNAL
