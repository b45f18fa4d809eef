"""Calls that a face of the same process awaits at once: they end as any other call does, by a shorter way."""

import asyncio
import gc
from contextvars import ContextVar
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.probe_service import SERVICE, Probe, ProbeStub, add_probe_to_server
from trivet.kernel import catalogue, errors
from trivet.kernel.call import Call, current_call
from trivet.kernel.codec.rendered import Rendered, accepts_rendered
from trivet.kernel.inprocess.face_call import FaceCall
from trivet.kernel.rpc import Context
from trivet.kernel.server import Server
from trivet.kernel.settings import AuthSettings, ServerSettings
from trivet.kernel.testing import serving

SENT = (("x-request-id", "r-1"), ("x-trivet-more", "1"))


def calling(channel: Any, method: str, value: str = "", *, renders: bool = False, principal: str | None = None) -> Any:
    return channel.unary_unary(f"/{SERVICE}/{method}").for_face(StringValue(value=value), None, SENT, principal, renders)


async def outcome(call: Any) -> object:
    """How a call ends."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details(), sorted(error.trailing_metadata() or ()), catalogue.from_rpc_error(error)
    initial = call.initial_pairs if isinstance(call, FaceCall) else tuple(await call.initial_metadata())
    return answer, tuple(initial)


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("Echo", "hello"),
        ("Missing", ""),
        *(("Fail", value) for value in ("", "typed", "limited", "unicode", "timeout")),
        ("Abort", ""),
        ("Metadata", ""),
        ("Group", ""),
        ("Group", "mixed"),
        ("Stray", ""),
        ("Codes", ""),
    ],
)
async def test_a_call_ends_by_either_way_in_the_same_manner(method: str, value: str) -> None:
    async with serving(add_probe_to_server, Probe()) as channel:
        long = getattr(ProbeStub(channel), method)(StringValue(value=value), metadata=SENT)
        short = calling(channel, method, value)
        assert isinstance(short, FaceCall)
        assert not short.done()
        assert repr(await outcome(short)) == repr(await outcome(long))
        assert short.done()


async def test_a_call_begins_when_it_is_awaited_and_is_awaited_once() -> None:
    probe = Probe()
    async with serving(add_probe_to_server, probe) as channel:
        call = calling(channel, "Metadata")
        await asyncio.sleep(0)
        assert not probe.metadata
        assert (await call).value == "r-1"
        assert probe.metadata["x-trivet-more"] == "1"
        with pytest.raises(asyncio.InvalidStateError):
            await call


async def test_a_call_that_is_cancelled_before_it_began_never_does() -> None:
    probe = Probe()
    async with serving(add_probe_to_server, probe) as channel:
        call = calling(channel, "Wait")
        assert call.cancel()
        assert not call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not probe.entered.is_set()


@pytest.mark.parametrize("method", ["Wait", "Suppress"])
async def test_who_cancels_a_call_does_not_cancel_who_awaits_it(method: str) -> None:
    async def waiting() -> int:
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    probe = Probe()
    async with serving(add_probe_to_server, probe) as channel:
        call = calling(channel, method)
        task = asyncio.create_task(waiting())
        async with asyncio.timeout(30):
            await probe.entered.wait()
            call.cancel()
            assert await task == 0
    assert probe.left.is_set()


async def test_a_maker_that_is_cancelled_takes_the_handler_with_it() -> None:
    probe = Probe()
    async with serving(add_probe_to_server, probe) as channel:
        call = calling(channel, "Wait")
        task = asyncio.ensure_future(outcome(call))
        async with asyncio.timeout(30):
            await probe.entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert (probe.left.is_set(), probe.closed.is_set(), call.done(), call.cancel()) == (True, True, True, False)


async def test_the_server_bounds_it_in_time() -> None:
    settings = ServerSettings(grpc="127.0.0.1:0", default_deadline_seconds=0.1)
    async with serving(add_probe_to_server, Probe(), settings=settings) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await calling(channel, "Wait")
        assert isinstance(catalogue.from_rpc_error(failure.value), errors.RequestTimeout)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()


async def test_a_server_that_stops_ends_it_and_begins_no_other() -> None:
    probe = Probe()
    server = Server(ServerSettings(grpc="127.0.0.1:0"), None)
    server.add(add_probe_to_server, probe)
    await server.start()
    running = asyncio.ensure_future(outcome(calling(server.channel, "Wait")))
    async with asyncio.timeout(30):
        await probe.entered.wait()
        server.channel.drain()
        late: Any = await outcome(calling(server.channel, "Echo"))
        assert late[0] is grpc.StatusCode.UNAVAILABLE
        await server.stop(0)
        ended: Any = await running
    assert isinstance(ended[3], errors.Overloaded)
    await server.channel.close()
    with pytest.raises(grpc.aio.UsageError, match="closed"):
        calling(server.channel, "Echo")


async def test_a_key_is_judged_unless_its_owner_is_told() -> None:
    probe = Probe()
    async with serving(add_probe_to_server, probe, auth=AuthSettings()) as channel:
        await calling(channel, "Metadata", principal="ann")
        assert probe.principal == "ann"
        refused: Any = await outcome(calling(channel, "Metadata"))
    assert refused[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_only_who_says_so_is_given_an_answer_as_json() -> None:
    class Rendering(Probe):
        async def Echo(self, request: StringValue, context: Context) -> Any:
            return Rendered(b"{}") if accepts_rendered(context) else request

    async with serving(add_probe_to_server, Rendering()) as channel:
        said = StringValue(value="hi")
        assert await ProbeStub(channel).Echo(said) == said
        assert await calling(channel, "Echo", "hi") == said
        assert await calling(channel, "Echo", "hi", renders=True) == Rendered(b"{}")


async def test_the_handler_sees_the_variables_of_the_server_and_its_maker_keeps_its_own() -> None:
    mine: ContextVar[str] = ContextVar("mine", default="the server's")

    class Telling(Probe):
        async def Echo(self, request: StringValue, context: Context) -> StringValue:
            await asyncio.sleep(0)
            seen = mine.get()
            mine.set("the handler's")
            return StringValue(value=seen)

    async with serving(add_probe_to_server, Telling()) as channel:
        mine.set("the maker's")
        assert (await calling(channel, "Echo")).value == "the server's"
        assert (mine.get(), current_call.get()) == ("the maker's", None)


async def test_inside_another_call_it_is_made_the_long_way() -> None:
    class Nesting(Probe):
        async def Echo(self, request: StringValue, context: Context) -> StringValue:
            inner = calling(self.channel, "Metadata")
            assert not isinstance(inner, FaceCall)
            return StringValue(value=(await inner).value)

        channel: Any

    probe = Nesting()
    async with serving(add_probe_to_server, probe) as channel:
        probe.channel = channel
        assert (await calling(channel, "Echo")).value == "r-1"


async def test_a_handler_may_say_that_all_is_well() -> None:
    class Well(Probe):
        async def Echo(self, request: StringValue, context: Context) -> StringValue:
            context.set_code(grpc.StatusCode.OK)
            return request

    async with serving(add_probe_to_server, Well()) as channel:
        assert (await calling(channel, "Echo", "hi")).value == "hi"
        assert (await ProbeStub(channel).Echo(StringValue(value="hi"))).value == "hi"


async def test_neither_end_is_a_stream() -> None:
    class Streaming(Probe):
        async def Echo(self, request: StringValue, context: Context) -> StringValue:
            with pytest.raises(grpc.aio.UsageError):
                await context.write(request)
            with pytest.raises(grpc.aio.UsageError):
                await context.read()
            with pytest.raises(grpc.aio.UsageError):
                await context.abort(grpc.StatusCode.OK)
            await context.send_initial_metadata(())
            with pytest.raises(grpc.aio.UsageError):
                await context.send_initial_metadata(())
            return request

    async with serving(add_probe_to_server, Streaming()) as channel:
        await calling(channel, "Echo")


def parts_of_calls() -> set[int]:
    return {id(part) for part in gc.get_objects() if isinstance(part, FaceCall | Call)}


async def test_it_leaves_nothing_to_the_garbage_collector() -> None:
    async with serving(add_probe_to_server, Probe()) as channel:
        gc.collect()
        gc.disable()
        try:
            before = parts_of_calls()
            await calling(channel, "Echo")
            await outcome(calling(channel, "Fail", "typed"))
            assert parts_of_calls() <= before
        finally:
            gc.enable()
