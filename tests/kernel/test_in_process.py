"""What an in-process call is spared, because nothing is sent."""

import asyncio
import gc
from collections.abc import Iterator

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import Probe, ProbeStub, add_probe_to_server
from trivet.kernel.call import Call
from trivet.kernel.inprocess.context import InProcessContext
from trivet.kernel.inprocess.exchange import Exchange
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
