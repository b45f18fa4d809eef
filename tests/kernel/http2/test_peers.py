"""Other implementations as callers of our server, and as servers of our client."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import Probe, ProbeStub, add_probe_to_server
from tests.kernel.test_transports import failure_of, happens, text
from trivet.kernel import catalogue, errors
from trivet.kernel.chain import Chain
from trivet.kernel.client import connect
from trivet.kernel.methods import Methods
from trivet.kernel.server import Server
from trivet.kernel.settings import ServerSettings

LARGE = text("x" * 5_000_000)
MOST = [("grpc.max_receive_message_length", -1), ("grpc.max_metadata_size", 65_536), ("grpc.absolute_max_metadata_size", 65_536)]


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'trivet.sock'}"


@pytest.fixture(params=["their client", "their server"])
async def stub(request: pytest.FixtureRequest, probe: Probe, address: str) -> AsyncIterator[ProbeStub]:
    if request.param == "their client":
        server = Server(ServerSettings(grpc=address), None)
        server.add(add_probe_to_server, probe)
        async with server, grpc.aio.insecure_channel(address, options=MOST) as channel:
            yield ProbeStub(channel)
        return
    theirs = grpc.aio.server(options=MOST)
    add_probe_to_server(probe, Wrapped(theirs))
    theirs.add_insecure_port(address)
    await theirs.start()
    try:
        async with connect(address) as channel:
            yield ProbeStub(channel)
    finally:
        await theirs.stop(0)


class Wrapped(Methods):
    """Registers methods with another server, with our chain around them."""

    def __init__(self, server: grpc.aio.Server) -> None:
        super().__init__(Chain(ServerSettings(), None))
        self._server = server

    def add_registered_method_handlers(self, service_name: str, method_handlers: object) -> None:
        super().add_registered_method_handlers(service_name, method_handlers)  # type: ignore[arg-type]
        found = {name: self.handler(f"/{service_name}/{name}") for name in method_handlers}  # type: ignore[attr-defined]
        self._server.add_registered_method_handlers(service_name, found)


async def told(*values: str) -> AsyncIterator[StringValue]:
    for value in values:
        yield text(value)


async def test_calls_of_all_shapes_answer(stub: ProbeStub):
    assert (await stub.Echo(text("hello"))).value == "hello"
    assert [message.value async for message in stub.Count(text("300"))] == [str(number) for number in range(300)]
    assert (await stub.Sum(told("1", "2", "3"))).value == "6"
    assert [message.value async for message in stub.Totals(told("5", "6"))] == ["5", "11"]


async def test_large_messages_pass_both_ways(stub: ProbeStub):
    answers = await asyncio.gather(*[stub.Echo(LARGE) for _ in range(3)])
    assert all(answer == LARGE for answer in answers)


async def test_metadata_and_request_ids_pass(stub: ProbeStub, probe: Probe):
    large = (("x-request-id", "r-1"), ("x-raw-bin", b"\x00\xff"), ("x-large", "h" * 15_000), ("x-many", "a"))
    for _ in range(3):
        call = stub.Metadata(text(""), metadata=large)
        assert dict(await call.initial_metadata())["x-first"] == "1"
        assert (await call).value == "r-1"
        assert dict(await call.trailing_metadata())["x-raw-bin"] == b"\x00\xff"
        assert (probe.metadata["x-raw-bin"], probe.metadata["x-large"]) == (b"\x00\xff", "h" * 15_000)


async def test_errors_pass_before_and_within_a_stream(stub: ProbeStub):
    error = catalogue.from_rpc_error(await failure_of(stub.Fail(text("unicode"))))
    assert (type(error), error.message) == (errors.InvalidRequest, "Żółw \N{TURTLE}\n% is not a model.")
    call = stub.CountThenFail(text("typed"))
    assert (await call.read()).value == "0"
    assert isinstance(catalogue.from_rpc_error(await failure_of(call.read())), errors.UpstreamFailed | errors.Overloaded)
    assert (await failure_of(stub.Unknown(text("")))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_who_leaves_and_what_expires_ends_the_handler(stub: ProbeStub, probe: Probe):
    call = stub.CountThenWait(text(""))
    assert (await call.read()).value == "0"
    await happens(probe.entered)
    call.cancel()
    await happens(probe.left)
    probe.left.clear()
    assert (await failure_of(stub.Wait(text(""), timeout=0.2))).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await happens(probe.left)


async def test_a_slow_reader_stalls_the_handler_and_gets_everything(stub: ProbeStub, probe: Probe):
    call = stub.Burst(text(""))
    await call.read()
    sent = -1
    async with asyncio.timeout(30):
        while sent != probe.sent:
            sent = probe.sent
            await stub.Echo(text(""))
    assert probe.sent < 1000
    for _ in range(sent + 10):
        assert len((await call.read()).value) == 100_000
    call.cancel()
    await happens(probe.left)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_read_and_bounded(probe: Probe, address: str, compression: grpc.Compression):
    server = Server(ServerSettings(grpc=address, max_message_bytes=100_000), None)
    server.add(add_probe_to_server, probe)
    async with server, grpc.aio.insecure_channel(address, compression=compression) as channel:
        assert (await ProbeStub(channel).Echo(text("x" * 50_000))).value == "x" * 50_000
        failure = await failure_of(ProbeStub(channel).Echo(text("x" * 200_000)))
        assert isinstance(catalogue.from_rpc_error(failure), errors.PayloadTooLarge)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_answers_are_read(probe: Probe, address: str, compression: grpc.Compression):
    theirs = grpc.aio.server(compression=compression)
    add_probe_to_server(probe, Wrapped(theirs))
    theirs.add_insecure_port(address)
    await theirs.start()
    async with connect(address) as channel:
        assert (await ProbeStub(channel).Echo(text("x" * 50_000))).value == "x" * 50_000
        assert [message.value async for message in ProbeStub(channel).Count(text("3"))] == ["0", "1", "2"]
    await theirs.stop(0)


async def test_a_server_that_takes_few_calls_at_a_time_gets_them_all(probe: Probe, address: str):
    theirs = grpc.aio.server(options=[("grpc.max_concurrent_streams", 2)])
    add_probe_to_server(probe, Wrapped(theirs))
    theirs.add_insecure_port(address)
    await theirs.start()
    async with connect(address) as channel:
        stub = ProbeStub(channel)
        await stub.Echo(text("the settings have come"))
        answers = await asyncio.gather(*[stub.Echo(text(str(number))) for number in range(30)])
        assert [answer.value for answer in answers] == [str(number) for number in range(30)]
    await theirs.stop(0)
