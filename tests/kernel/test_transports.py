"""What a caller can rely on is the same in process, over TCP and over a Unix socket."""

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import SERVICE, Probe, ProbeStub, add_probe_to_server
from trivet.kernel import catalogue, errors
from trivet.kernel.call import current_call
from trivet.kernel.settings import ServerSettings
from trivet.kernel.testing import Transport, serving

ASKED = StringValue(value="hello")


def text(value: str) -> StringValue:
    return StringValue(value=value)


async def failure_of(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call  # type: ignore[misc]
    return failure.value


async def read_all(call: AsyncIterator[StringValue], received: list[str]) -> None:
    async for message in call:
        received.append(message.value)


async def happens(event: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await event.wait()


async def test_a_unary_call_answers(stub: ProbeStub):
    call = stub.Echo(ASKED)
    assert (await call).value == "hello"
    assert (await call).value == "hello", "a call may be awaited twice"
    assert await call.code() is grpc.StatusCode.OK
    assert call.done()
    assert not call.cancelled()


async def test_a_stream_delivers_every_message_in_order(stub: ProbeStub):
    for method in (stub.Count, stub.Written):
        assert [message.value async for message in method(text("100"))] == [str(number) for number in range(100)]


async def test_a_stream_can_be_read_message_by_message(stub: ProbeStub):
    call = stub.Count(text("1"))
    assert (await call.read()).value == "0"
    assert await call.read() is grpc.aio.EOF
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_an_iteration_that_was_left_can_be_taken_up_again(stub: ProbeStub):
    call = stub.Count(text("3"))
    async for first in call:
        assert first.value == "0"
        break
    assert [message.value async for message in call] == ["1", "2"]


async def test_a_typed_error_arrives_as_it_was_raised(stub: ProbeStub):
    failure = await failure_of(stub.Fail(text("typed")))
    assert failure.code() is grpc.StatusCode.NOT_FOUND
    assert failure.details() == "The model `lab/fast` does not exist."
    error = catalogue.from_rpc_error(failure)
    assert (type(error), error.param, error.metadata) == (errors.ModelNotFound, "model", {"model": "lab/fast"})


async def test_a_time_to_wait_arrives(stub: ProbeStub):
    assert catalogue.from_rpc_error(await failure_of(stub.Fail(text("limited")))).retry_after == 2.5


async def test_a_message_may_hold_any_text(stub: ProbeStub):
    error = catalogue.from_rpc_error(await failure_of(stub.Fail(text("unicode"))))
    assert (error.message, error.param) == ("Żółw \N{TURTLE}\n% is not a model.", "model")


async def test_an_unknown_exception_leaks_nothing_and_is_logged(stub: ProbeStub, caplog: pytest.LogCaptureFixture):
    failure = await failure_of(stub.Fail(text("")))
    assert (failure.code(), failure.details()) == (grpc.StatusCode.INTERNAL, errors.InternalError().message)
    assert "hunter2" not in repr(failure.trailing_metadata()) + repr(failure.debug_error_string())
    assert "hunter2" in caplog.text


async def test_a_timeout_inside_the_handler_is_not_the_calls_deadline(stub: ProbeStub):
    assert (await failure_of(stub.Fail(text("timeout")))).code() is grpc.StatusCode.INTERNAL


async def test_a_status_that_the_handler_sets_passes_unchanged(stub: ProbeStub):
    failure = await failure_of(stub.Abort(ASKED))
    assert (failure.code(), failure.details()) == (grpc.StatusCode.ABORTED, "own words")
    assert dict(failure.trailing_metadata()) == {"x-own": "1"}
    failure = await failure_of(stub.Codes(ASKED))
    assert (failure.code(), failure.details()) == (grpc.StatusCode.ALREADY_EXISTS, "set, not raised")


async def test_the_error_of_a_task_group_is_the_error_of_its_task(stub: ProbeStub):
    assert isinstance(catalogue.from_rpc_error(await failure_of(stub.Group(text("")))), errors.ModelNotFound)
    assert (await failure_of(stub.Group(text("mixed")))).code() is grpc.StatusCode.INTERNAL


async def test_a_handler_that_awaits_a_cancelled_task_answers(stub: ProbeStub):
    assert (await failure_of(stub.Stray(ASKED, timeout=5))).code() is grpc.StatusCode.INTERNAL


async def test_a_method_left_to_the_generated_base_is_unimplemented(stub: ProbeStub):
    failure = await failure_of(stub.Missing(ASKED))
    assert failure.code() is grpc.StatusCode.UNIMPLEMENTED
    assert isinstance(catalogue.from_rpc_error(failure), errors.RouteNotFound)


async def test_a_method_that_does_not_exist_is_a_typed_refusal(stub: ProbeStub):
    failure = await failure_of(stub.Unknown(ASKED))
    assert failure.code() is grpc.StatusCode.UNIMPLEMENTED
    assert catalogue.DETAILS_KEY in dict(failure.trailing_metadata())


@pytest.mark.parametrize(("kind", "code"), [("typed", "UNAVAILABLE"), ("", "INTERNAL")])
async def test_an_error_after_the_first_message_ends_the_stream(stub: ProbeStub, kind: str, code: str):
    call = stub.CountThenFail(text(kind))
    received: list[str] = []
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await read_all(call, received)
    assert received == ["0"]
    assert failure.value.code().name == code
    assert catalogue.DETAILS_KEY in dict(await call.trailing_metadata())


async def test_metadata_travels_both_ways(stub: ProbeStub, probe: Probe):
    call = stub.Metadata(ASKED, metadata=(("x-request-id", "r-1"), ("x-more", "yes"), ("x-raw-bin", b"\x00")))
    assert dict(await call.initial_metadata()) == {"x-first": "1"}
    assert (await call).value == "r-1"
    assert dict(await call.trailing_metadata()) == {"x-last": "2", "x-raw-bin": b"\x00\xff"}
    assert (probe.metadata["x-more"], probe.metadata["x-raw-bin"]) == ("yes", b"\x00")


async def test_metadata_may_be_as_large_as_http_headers(stub: ProbeStub, probe: Probe):
    # At this size grpcio's own limit refuses some calls and lets others pass.
    for _ in range(20):
        await stub.Metadata(ASKED, metadata=(("x-trivet-mcp-headers", "h" * 15_000),))
    assert len(probe.metadata["x-trivet-mcp-headers"]) == 15_000


async def test_the_request_id_is_the_callers_or_a_new_one(stub: ProbeStub):
    for given, kept in (("r-1", True), ("two words", False), ("x" * 129, False)):
        call = stub.Echo(ASKED, metadata=(("x-request-id", given),))
        await call
        assert (dict(await call.trailing_metadata())["x-request-id"] == given) is kept
    failure = await failure_of(stub.Fail(text("typed"), metadata=(("x-request-id", "r-2"),)))
    assert dict(failure.trailing_metadata())["x-request-id"] == "r-2"


async def test_cancelling_a_call_cancels_its_handler(stub: ProbeStub, probe: Probe):
    call = stub.Wait(ASKED)
    await happens(probe.entered)
    assert call.cancel()
    assert not call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await call.code() is grpc.StatusCode.CANCELLED
    await happens(probe.left)
    await happens(probe.closed)


async def test_cancelling_the_awaiting_task_cancels_the_handler(stub: ProbeStub, probe: Probe):
    async def asks() -> None:
        await stub.Wait(ASKED)

    task = asyncio.create_task(asks())
    await happens(probe.entered)
    task.cancel()
    await happens(probe.left)


async def test_cancelling_the_reading_task_cancels_the_handler(stub: ProbeStub, probe: Probe):
    task = asyncio.create_task(read_all(stub.CountThenWait(ASKED), []))
    await happens(probe.entered)
    task.cancel()
    await happens(probe.left)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_dropping_a_stream_cancels_the_handler(stub: ProbeStub, probe: Probe):
    async def first() -> str:
        async for message in stub.CountThenWait(ASKED):
            # Not before the handler has come out of its write, or it would be cancelled in there.
            await happens(probe.entered)
            return message.value
        return ""

    assert await first() == "0"
    await happens(probe.left)


async def test_a_cancelled_stream_delivers_nothing_more(stub: ProbeStub):
    call = stub.Count(text("5"))
    assert (await call.read()).value == "0"
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_an_exception_made_of_a_cancellation_reaches_nobody(
    stub: ProbeStub, probe: Probe, caplog: pytest.LogCaptureFixture
):
    call = stub.Suppress(ASKED)
    await happens(probe.entered)
    call.cancel()
    await happens(probe.left)
    assert (await stub.Echo(ASKED)).value == "hello", "the server goes on"


async def test_the_deadline_ends_the_call_and_the_handler(stub: ProbeStub, probe: Probe):
    call = stub.Wait(ASKED, timeout=0.2)
    assert 0 < call.time_remaining() <= 0.2
    failure = await failure_of(call)
    assert failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert isinstance(catalogue.from_rpc_error(failure), errors.RequestTimeout)
    await happens(probe.left)


async def test_the_deadline_ends_a_stream(stub: ProbeStub, probe: Probe):
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await read_all(stub.CountThenWait(ASKED, timeout=0.2), [])
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await happens(probe.left)


async def test_a_call_without_a_deadline_gets_the_servers(probe: Probe, transport: Transport):
    settings = ServerSettings(grpc="127.0.0.1:0", default_deadline_seconds=0.1, max_deadline_seconds=0.2)
    async with serving(add_probe_to_server, probe, transport=transport, settings=settings) as channel:
        stub = ProbeStub(channel)
        error = catalogue.from_rpc_error(await failure_of(stub.Wait(ASKED)))
        assert isinstance(error, errors.RequestTimeout)
        assert await stub.Wait(ASKED, timeout=60).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert float((await stub.Remaining(ASKED, timeout=60)).value) <= 0.2


async def test_calls_without_a_deadline_expire_in_their_order_and_those_that_ended_do_not(transport: Transport):
    class Waiting(Probe):
        async def Wait(self, request: StringValue, context: object) -> StringValue:
            waiting.append(request.value)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(request.value)
            return request

    waiting: list[str] = []
    ended: list[str] = []
    settings = ServerSettings(grpc="127.0.0.1:0", default_deadline_seconds=0.2)
    async with serving(add_probe_to_server, Waiting(), transport=transport, settings=settings) as channel:
        stub = ProbeStub(channel)
        calls = []
        for name in "abc":
            calls.append(stub.Wait(text(name)))
            while name not in waiting:
                await stub.Echo(ASKED)
                await asyncio.sleep(0)
        calls[0].cancel()
        for call in calls[1:]:
            assert isinstance(catalogue.from_rpc_error(await failure_of(call)), errors.RequestTimeout)
        assert isinstance(catalogue.from_rpc_error(await failure_of(stub.Wait(ASKED))), errors.RequestTimeout)
    assert ended == ["a", "b", "c", "hello"]


async def test_a_slow_reader_stalls_the_handler(stub: ProbeStub, probe: Probe):
    call = stub.Burst(ASKED)
    await call.read()
    sent = -1
    async with asyncio.timeout(30):
        while sent != probe.sent:
            sent = probe.sent
            await stub.Echo(ASKED)
            await asyncio.sleep(0)
    # 100 MB; gRPC's window grows with the bandwidth that it measures, to some 20 MB on loopback.
    assert probe.sent < 1000
    for _ in range(probe.sent + 10):
        await call.read()
    assert probe.sent > sent
    call.cancel()
    await happens(probe.left)


async def test_a_hundred_streams_run_side_by_side(stub: ProbeStub):
    async def total() -> int:
        return sum([int(message.value) async for message in stub.Count(text("20"))])

    assert await asyncio.gather(*[total() for _ in range(100)]) == [190] * 100


async def test_context_variables_stay_on_their_side(stub: ProbeStub):
    await stub.Metadata(ASKED)
    assert current_call.get() is None


async def test_done_callbacks_run_once(stub: ProbeStub):
    done = asyncio.Queue[object]()
    call = stub.Echo(ASKED)
    call.add_done_callback(done.put_nowait)
    await call
    async with asyncio.timeout(30):
        assert await done.get() is call
    call.add_done_callback(done.put_nowait)
    async with asyncio.timeout(30):
        await done.get()
    assert done.empty()


@pytest.mark.parametrize("left", [False, True])
async def test_a_stream_is_done_when_its_reader_is(stub: ProbeStub, left: bool):
    done = asyncio.Queue[object]()
    call = stub.Count(text("3"))
    await call.read()
    # By now the handler has ended, and its messages wait to be read.
    await stub.Echo(ASKED)
    call.add_done_callback(done.put_nowait)
    await stub.Echo(ASKED)
    assert done.empty()
    if left:
        call.cancel()
    else:
        assert [message.value async for message in call] == ["1", "2"]
    async with asyncio.timeout(30):
        assert await done.get() is call


async def test_each_call_is_one_line_in_the_access_log(
    stub: ProbeStub, probe: Probe, transport: Transport, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "trivet.access")
    secret = (("authorization", "Bearer hunter2"), ("x-request-id", "r-1"))
    await stub.Echo(text("a body"), metadata=secret)
    await failure_of(stub.Fail(text("typed"), metadata=secret))
    waiting = stub.Wait(ASKED, metadata=secret)
    await happens(probe.entered)
    waiting.cancel()
    await happens(probe.closed)
    records = [record for record in caplog.records if record.name == "trivet.access"]
    lines = [record.message for record in records]
    assert [line.split(" ms=")[0] for line in lines] == [
        f'method="/{SERVICE}/Echo" code=OK',
        f'method="/{SERVICE}/Fail" code=NOT_FOUND',
        f'method="/{SERVICE}/Wait" code=CANCELLED',
    ]
    # What a request or another call has asked for in this process, and got, has its line there.
    assert [record.levelname for record in records] == ["DEBUG" if transport == "in-process" else "INFO", "INFO", "INFO"]
    assert all("request_id=r-1 " in line and "principal=" in line and "peer=" in line for line in lines)
    assert "hunter2" not in caplog.text
    assert "a body" not in caplog.text
