"""A request that is a stream means the same over the wire and in process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import Probe, ProbeStub
from tests.kernel.test_transports import failure_of, happens, text
from trivet.kernel import catalogue, errors

PIECE = text("x" * 100_000)


async def told(*values: str) -> AsyncIterator[StringValue]:
    for value in values:
        yield text(value)


async def test_the_messages_of_an_iterator_arrive_in_order(stub: ProbeStub, probe: Probe) -> None:
    values = [str(number) for number in range(100)]
    assert (await stub.Drain(told(*values))).value == "100"
    assert probe.received == values
    assert (await stub.Sum(map(text, values))).value == "4950", "an iterator may be an ordinary one"


async def test_messages_can_be_written_one_by_one(stub: ProbeStub) -> None:
    call = stub.Sum()
    for value in ("1", "2", "3"):
        await call.write(text(value))
    await call.done_writing()
    assert (await call).value == "6"
    assert await call.code() is grpc.StatusCode.OK
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(text("4"))


async def test_answers_come_while_the_request_is_still_written(stub: ProbeStub) -> None:
    call = stub.Totals()
    for value, total in (("1", "1"), ("2", "3"), ("3", "6")):
        await call.write(text(value))
        assert (await call.read()).value == total
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert [message.value async for message in stub.Totals(told("5", "6"))] == ["5", "11"]


async def test_cancelling_in_the_middle_of_the_request_cancels_the_handler(stub: ProbeStub, probe: Probe) -> None:
    call = stub.Drain()
    await call.write(text("1"))
    await happens(probe.entered)
    assert call.cancel()
    await happens(probe.left)
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_leaving_the_answers_cancels_the_handler(stub: ProbeStub, probe: Probe) -> None:
    call = stub.Totals()
    await call.write(text("1"))
    assert (await call.read()).value == "1"
    await call.aclose()
    await happens(probe.left)


async def test_an_iterator_that_fails_cancels_the_call(stub: ProbeStub, probe: Probe) -> None:
    async def breaks() -> AsyncIterator[StringValue]:
        yield text("1")
        await probe.entered.wait()
        raise ValueError("the caller's own")

    call = stub.Drain(breaks())
    with pytest.raises(asyncio.CancelledError):
        await call
    await happens(probe.left)


async def test_a_refusal_before_the_request_is_over_arrives(stub: ProbeStub) -> None:
    for _ in range(20):
        call = stub.Refuse()

        async def write(call: Any = call) -> None:
            while True:
                await call.write(PIECE)

        writing = asyncio.ensure_future(write())
        error = catalogue.from_rpc_error(await failure_of(call))
        assert (type(error), error.metadata["http_status"]) == (errors.UpstreamRejected, "413")
        async with asyncio.timeout(30):
            await asyncio.wait([writing])
        assert isinstance(writing.exception(), asyncio.InvalidStateError)


async def test_a_slow_handler_stalls_the_caller(stub: ProbeStub, probe: Probe) -> None:
    written = 0

    async def endless() -> AsyncIterator[StringValue]:
        nonlocal written
        while not probe.proceed.is_set():
            written += 1
            yield PIECE

    call = stub.Stall(endless())
    before = -1
    async with asyncio.timeout(30):
        while before != written:
            before = written
            await stub.Echo(PIECE)
    assert written < 1000, "100 MB; gRPC's window grows to some 20 MB on loopback"
    probe.proceed.set()
    assert int((await call).value) == 100_000 * written
