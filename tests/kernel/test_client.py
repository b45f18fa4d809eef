"""What travels on from one RPC to the next, and how channels behave that are not a call."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import SERVICE, Probe, ProbeStub, add_probe_to_server
from trivet.kernel import catalogue, errors
from trivet.kernel.client import connect
from trivet.kernel.server import Server
from trivet.kernel.settings import AuthSettings, ServerSettings
from trivet.kernel.testing import Transport, serving

ASKED = StringValue(value="hello")
AUTH = AuthSettings.model_validate({"keys": [{"name": "ann", "key": "k-ann"}]})


class Relay(Probe):
    """Answers every Echo by asking the next service."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        super().__init__()
        self._ask = ask

    async def Echo(self, request: StringValue, context: object) -> StringValue:
        answer: StringValue = await self._ask()
        return answer


@pytest.fixture
async def behind(probe: Probe, transport: Transport) -> AsyncIterator[ProbeStub]:
    async with serving(add_probe_to_server, probe, transport=transport, auth=AUTH) as channel:
        yield ProbeStub(channel)


async def test_the_callers_key_id_and_own_metadata_travel_on(behind: ProbeStub, probe: Probe):
    metadata = (
        ("authorization", "Bearer k-ann"),
        ("x-request-id", "r-1"),
        ("x-trivet-metadata", '{"team": "blue"}'),
        ("x-private", "stays"),
        ("cookie", "stays"),
    )
    async with serving(add_probe_to_server, Relay(lambda: behind.Metadata(ASKED))) as channel:
        assert (await ProbeStub(channel).Echo(ASKED, metadata=metadata)).value == "r-1"
    assert probe.principal == "ann"
    assert probe.metadata["x-trivet-metadata"] == '{"team": "blue"}'
    assert not {"x-private", "cookie"} & set(probe.metadata)


async def test_metadata_given_explicitly_is_not_overridden(behind: ProbeStub, probe: Probe):
    own = (("authorization", "Bearer k-ann"), ("x-request-id", "r-2"))
    async with serving(add_probe_to_server, Relay(lambda: behind.Metadata(ASKED, metadata=own))) as channel:
        metadata = (("authorization", "Bearer other"), ("x-request-id", "r-1"))
        assert (await ProbeStub(channel).Echo(ASKED, metadata=metadata)).value == "r-2"


async def test_what_is_left_of_the_deadline_travels_on(behind: ProbeStub):
    key = (("authorization", "Bearer k-ann"),)
    for own in (None, 1000.0):
        async with serving(add_probe_to_server, Relay(lambda own=own: behind.Remaining(ASKED, timeout=own))) as channel:
            assert 0 < float((await ProbeStub(channel).Echo(ASKED, timeout=50, metadata=key)).value) < 100  # grpcio rounds up


async def test_a_cancelled_call_cancels_the_calls_below_it(behind: ProbeStub, probe: Probe):
    async with serving(add_probe_to_server, Relay(lambda: behind.Wait(ASKED))) as channel:
        call = ProbeStub(channel).Echo(ASKED, metadata=(("authorization", "Bearer k-ann"),))
        async with asyncio.timeout(30):
            await probe.entered.wait()
            call.cancel()
            await probe.left.wait()


async def test_an_error_from_below_reaches_the_caller_as_it_was_raised(behind: ProbeStub):
    key = (("authorization", "Bearer k-ann"),)
    async with serving(add_probe_to_server, Relay(lambda: behind.Fail(StringValue(value="typed")))) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await ProbeStub(channel).Echo(ASKED, metadata=key)
    assert isinstance(catalogue.from_rpc_error(failure.value), errors.ModelNotFound)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/nobody/here.sock"])
async def test_a_service_that_is_down_is_an_overload_and_its_address_stays_private(address: str):
    async with connect(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await ProbeStub(channel).Echo(ASKED, timeout=5)
    error = catalogue.from_rpc_error(failure.value)
    assert isinstance(error, errors.Overloaded)
    assert "127.0.0.1" not in error.message
    assert "nobody" not in error.message


async def test_an_idempotent_call_is_tried_again_and_others_are_not(address: str):
    class Shaky(Probe):
        async def Echo(self, request: StringValue, context: object) -> StringValue:
            self.sent += 1
            if self.sent == 1:
                raise errors.Overloaded("Not yet.")
            return request

    for idempotent in (True, False):
        shaky = Shaky()
        server = Server(ServerSettings(grpc=address), None)
        server.add(add_probe_to_server, shaky)
        names = [f"{SERVICE}/Echo"] if idempotent else []
        async with server, connect(server.address, idempotent=names) as channel:
            call = ProbeStub(channel).Echo(ASKED, timeout=10)
            assert (await call.code() is grpc.StatusCode.OK) is idempotent
            assert shaky.sent == (2 if idempotent else 1)


async def test_the_message_itself_is_handed_over_in_process(probe: Probe):
    async with serving(add_probe_to_server, probe) as channel:
        assert await ProbeStub(channel).Echo(ASKED) is ASKED


async def test_an_upper_case_metadata_key_is_refused_in_process_too(probe: Probe):
    async with serving(add_probe_to_server, probe) as channel:
        with pytest.raises(ValueError, match="X-Key"):
            ProbeStub(channel).Echo(ASKED, metadata=(("X-Key", "1"),))


async def test_a_closed_channel_makes_no_calls(probe: Probe, transport: Transport):
    async with serving(add_probe_to_server, probe, transport=transport) as channel:
        await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        watching = asyncio.create_task(channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
        stub = ProbeStub(channel)
        await stub.Echo(ASKED)
        await channel.close()
        with pytest.raises(grpc.aio.UsageError):
            await stub.Echo(ASKED)
        if transport == "in-process":
            await watching
            assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        watching.cancel()
        await asyncio.wait([watching])
