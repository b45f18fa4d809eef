"""What an in-process call is spared, because nothing is sent."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import SERVICE, Probe, ProbeStub, add_probe_to_server
from trivet.kernel.call import Call
from trivet.kernel.inprocess.context import InProcessContext
from trivet.kernel.inprocess.exchange import Exchange
from trivet.kernel.settings import AuthSettings
from trivet.kernel.testing import serving


def parts_of_calls() -> set[int]:
    """All that are there, those included that a test before this one has kept."""
    return {id(kept) for kept in gc.get_objects() if type(kept) in (Call, Exchange, InProcessContext)}


@pytest.fixture
def _uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_uncollected")
@pytest.mark.parametrize("timeout", [None, 60])
async def test_a_call_that_has_ended_leaves_nothing_to_the_garbage_collector(timeout: float | None) -> None:
    before = parts_of_calls()
    async with serving(add_probe_to_server, Probe()) as channel:
        stub = ProbeStub(channel)
        await stub.Echo(StringValue(value="hello"), timeout=timeout)
        assert [message.value async for message in stub.Count(StringValue(value="3"), timeout=timeout)] == ["0", "1", "2"]
        await stub.Echo(StringValue(value="again"), timeout=timeout)
        await asyncio.sleep(0)  # the loop was to start what has ended already

        assert parts_of_calls() <= before


async def test_a_key_of_metadata_that_the_wire_would_refuse_is_refused() -> None:
    async with serving(add_probe_to_server, Probe()) as channel:
        with pytest.raises(ValueError, match="lower case: X-Own"):
            ProbeStub(channel).Echo(StringValue(), metadata=(("X-Own", "1"),))


async def test_a_key_that_was_judged_in_the_process_is_not_judged_again_and_no_metadata_say_so() -> None:
    key = (("authorization", "Bearer k-gone"), ("principal", "ann"), ("x-trivet-principal", "ann"))
    probe = Probe()
    async with serving(add_probe_to_server, probe, auth=AuthSettings()) as channel:
        asking: Any = channel.unary_unary(f"/{SERVICE}/Metadata")
        await asking(StringValue(), metadata=key, principal="ann")
        assert probe.principal == "ann"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asking(StringValue(), metadata=key)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_handler_runs_in_the_task_of_a_caller_who_only_waits_for_it() -> None:
    class Telling(Probe):
        async def Echo(self, request: StringValue, context: object) -> StringValue:
            return StringValue(value=str(id(asyncio.current_task())))

    async with serving(add_probe_to_server, Telling()) as channel:
        stub, here = ProbeStub(channel), str(id(asyncio.current_task()))
        assert (await stub.Echo(StringValue())).value == here
        assert (await stub.Echo(StringValue(), timeout=60)).value != here


async def test_a_caller_whose_call_somebody_else_cancels_is_not_cancelled_itself() -> None:
    async def calling() -> int:
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    probe = Probe()
    async with serving(add_probe_to_server, probe) as channel:
        call = ProbeStub(channel).Wait(StringValue())
        waiting = asyncio.create_task(calling())
        async with asyncio.timeout(30):
            await probe.entered.wait()
            call.cancel()
            assert await waiting == 0
            await probe.left.wait()


async def test_a_call_that_nobody_waits_for_begins_all_the_same() -> None:
    probe = Probe()
    async with serving(add_probe_to_server, probe) as channel:
        call = ProbeStub(channel).Wait(StringValue())
        async with asyncio.timeout(30):
            await probe.entered.wait()
        assert not call.done()
        call.cancel()


async def test_a_call_that_is_dropped_before_it_began_never_does() -> None:
    probe = Probe()
    async with serving(add_probe_to_server, probe) as channel:
        ProbeStub(channel).Wait(StringValue())
        await asyncio.sleep(0)
        assert not probe.entered.is_set()
