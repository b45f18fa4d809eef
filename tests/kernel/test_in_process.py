"""What an in-process call is spared, because nothing is sent."""

import asyncio
import gc
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import Probe, ProbeStub, add_probe_to_server
from trivet.kernel.call import Call, current_call
from trivet.kernel.inprocess.context import InProcessContext
from trivet.kernel.inprocess.exchange import Exchange
from trivet.kernel.rpc import Context
from trivet.kernel.settings import ServerSettings
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


async def test_a_handler_runs_in_the_task_of_a_caller_who_only_waits_for_it() -> None:
    class Telling(Probe):
        async def Echo(self, request: StringValue, context: object) -> StringValue:
            return StringValue(value=str(id(asyncio.current_task())))

    async with serving(add_probe_to_server, Telling()) as channel:
        stub, here = ProbeStub(channel), str(id(asyncio.current_task()))
        assert (await stub.Echo(StringValue())).value == here
        assert (await stub.Echo(StringValue(), timeout=60)).value != here


async def test_a_call_has_company_where_others_ran_before_it_or_before_the_one_that_it_is_made_for() -> None:
    class Telling(Probe):
        stub: ProbeStub

        async def Echo(self, request: StringValue, context: Context) -> StringValue:
            call = current_call.get()
            assert call is not None
            if request.value == "nested":
                return StringValue(value=f"nested {call.has_company}")
            return StringValue(value=f"{call.has_company}, {(await self.stub.Echo(StringValue(value='nested'))).value}")

    probe = Telling()
    async with serving(add_probe_to_server, probe) as channel:
        probe.stub = stub = ProbeStub(channel)
        assert (await stub.Echo(StringValue())).value == "False, nested False"
        other = stub.Wait(StringValue())
        async with asyncio.timeout(30):
            await probe.entered.wait()
            assert (await stub.Echo(StringValue())).value == "True, nested True"
        other.cancel()


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


class Asking(Probe):
    """Each of its calls is answered by another one, which is made to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stub: ProbeStub | None = None
        self.tasks: list[object] = []

    async def Echo(self, request: StringValue, context: object) -> StringValue:
        if request.value == "beside":
            answer, _ = await asyncio.gather(*[asyncio.create_task(self._asked(request)) for _ in range(2)])
            return answer
        return await self._asked(request)

    async def _asked(self, request: StringValue) -> StringValue:
        self.tasks.append(asyncio.current_task())
        assert self.stub is not None
        answer: StringValue = await (self.stub.Remaining(request) if request.value else self.stub.Wait(request))
        return answer

    async def Remaining(self, request: StringValue, context: Context) -> StringValue:
        self.tasks.append(asyncio.current_task())
        return await super().Remaining(request, context)


async def test_a_call_that_is_made_for_another_is_answered_in_the_task_of_that_within_its_deadline() -> None:
    probe = Asking()
    async with serving(add_probe_to_server, probe, settings=ServerSettings(default_deadline_seconds=50)) as channel:
        probe.stub = ProbeStub(channel)
        remaining = float((await probe.stub.Echo(StringValue(value="how long"))).value)

    assert 0 < remaining <= 50
    assert len(probe.tasks) == 2
    assert len(set(probe.tasks)) == 1


async def test_calls_that_are_made_beside_each_other_are_answered_in_the_tasks_that_wait_for_them() -> None:
    probe = Asking()
    async with serving(add_probe_to_server, probe) as channel:
        probe.stub = ProbeStub(channel)
        assert float((await probe.stub.Echo(StringValue(value="beside"))).value) > 0

    assert len(probe.tasks) == 4
    assert len(set(probe.tasks)) == 2


async def test_the_deadline_of_a_call_ends_the_one_that_is_made_for_it() -> None:
    probe = Asking()
    async with serving(add_probe_to_server, probe, settings=ServerSettings(default_deadline_seconds=0.1)) as channel:
        probe.stub = ProbeStub(channel)
        async with asyncio.timeout(30):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await probe.stub.Echo(StringValue())
            await probe.left.wait()

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_server_that_stops_ends_a_call_and_the_one_that_is_made_for_it() -> None:
    probe = Asking()
    async with asyncio.timeout(30), serving(add_probe_to_server, probe) as channel:
        probe.stub = ProbeStub(channel)
        call = probe.stub.Echo(StringValue())
        await probe.entered.wait()
        waiting = asyncio.ensure_future(call)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert probe.left.is_set()
