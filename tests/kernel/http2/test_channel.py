"""How a channel finds its server, loses it and finds it again."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import SERVICE, Probe, ProbeStub, add_probe_to_server
from tests.kernel.test_transports import failure_of, happens
from trivet.kernel.client import connect
from trivet.kernel.http2 import frames, hpack
from trivet.kernel.http2.frames import END_STREAM, Fault
from trivet.kernel.server import Server
from trivet.kernel.settings import ServerSettings, unix_path

ASKED = StringValue(value="hello")
ANSWER = hpack.block((":status", "200"), ("content-type", "application/grpc"))
OK = hpack.block(("grpc-status", "0"))


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'trivet.sock'}"


def new_server(address: str, probe: Probe | None = None) -> Server:
    server = Server(ServerSettings(grpc=address), None)
    server.add(add_probe_to_server, probe or Probe())
    return server


async def test_a_server_that_comes_back_is_found_again(address: str):
    async with new_server(address):
        channel = connect(address)
        assert (await ProbeStub(channel).Echo(ASKED)).value == "hello"
    assert await ProbeStub(channel).Echo(ASKED).code() is grpc.StatusCode.UNAVAILABLE
    async with new_server(address), asyncio.timeout(30):
        while await ProbeStub(channel).Echo(ASKED).code() is grpc.StatusCode.UNAVAILABLE:
            await asyncio.sleep(0)
        assert (await ProbeStub(channel).Echo(ASKED)).value == "hello"
        await channel.close()


async def test_an_idempotent_call_waits_for_a_server_that_is_just_starting(address: str):
    async with connect(address, idempotent=[f"{SERVICE}/Echo"]) as channel:
        call = ProbeStub(channel).Echo(ASKED)
        assert await ProbeStub(channel).Metadata(ASKED).code() is grpc.StatusCode.UNAVAILABLE
        async with new_server(address), asyncio.timeout(30):
            assert (await call).value == "hello"


async def test_calls_made_before_there_is_a_connection_share_the_first(address: str):
    async with new_server(address), connect(address) as channel:
        answers = await asyncio.gather(*[ProbeStub(channel).Echo(ASKED) for _ in range(20)])
    assert len(answers) == 20


async def test_a_call_fails_with_its_connection(address: str, probe: Probe):
    server = new_server(address, probe)
    await server.start()
    async with connect(address) as channel:
        call = ProbeStub(channel).Wait(ASKED)
        await happens(probe.entered)
        await server.stop(0)
        assert (await failure_of(call)).code() is grpc.StatusCode.UNAVAILABLE


async def test_closing_a_channel_cancels_its_calls(address: str, probe: Probe):
    async with new_server(address, probe):
        channel = connect(address)
        call = ProbeStub(channel).Wait(ASKED)
        await happens(probe.entered)
        await channel.close()
        with pytest.raises(asyncio.CancelledError):
            await call
        await happens(probe.left)


async def test_what_comes_of_a_call_that_was_cancelled_disturbs_no_other(address: str):
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = b""
        writer.write(frames.settings({}))
        while frames.reset(1, Fault.CANCEL) not in heard:
            heard += await reader.read(65_536)
        late = frames.headers(1, ANSWER) + frames.message(1, b"") + frames.headers(1, OK, END_STREAM)
        writer.write(
            late + frames.headers(3, ANSWER) + frames.message(3, ASKED.SerializeToString()) + frames.headers(3, OK, END_STREAM)
        )
        await reader.read()
        writer.close()
        over.set()

    server = await asyncio.start_unix_server(serve, unix_path(address))
    async with server, asyncio.timeout(30):
        async with connect(address) as channel:
            await channel.channel_ready()
            left, kept = ProbeStub(channel).Echo(ASKED), ProbeStub(channel).Echo(ASKED)
            left.cancel()
            assert (await kept).value == "hello"
        await over.wait()


async def test_the_state_of_a_channel_can_be_followed(address: str):
    async with new_server(address) as server, connect(address) as channel, asyncio.timeout(30):
        assert channel.get_state(try_to_connect=True) is not grpc.ChannelConnectivity.READY
        await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        await server.stop(0)
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)


async def test_metadata_that_can_not_be_sent_are_refused_at_once(address: str):
    async with connect(address) as channel:
        for name, value in (("X-Key", "1"), ("x-key", "two\nlines"), ("x-key", "ż")):
            with pytest.raises(ValueError, match=r"(?i)x-key|ascii"):
                ProbeStub(channel).Echo(ASKED, metadata=((name, value),))
