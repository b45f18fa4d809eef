"""A service for tests of the kernel: each method does one thing that a servicer may do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from trivet.kernel import errors
from trivet.kernel.call import current_call
from trivet.kernel.rpc import Context

SERVICE = "trivet.test.v1.Probe"
UNARY = ("Echo", "Missing", "Fail", "Abort", "Wait", "Metadata", "Remaining", "Group", "Stray", "Codes", "Suppress")
STREAMING = ("Count", "Written", "CountThenFail", "CountThenWait", "Burst")
STREAMED_REQUEST = ("Sum", "Drain", "Refuse", "Stall")
DUPLEX = ("Totals",)


class Probe:
    """`entered`, `left` and `sent` tell a test what has happened inside; `proceed` lets a waiting stream end."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        self.closed = asyncio.Event()
        self.proceed = asyncio.Event()
        self.sent = 0
        self.received: list[str] = []
        self.principal: str | None = None
        self.metadata: dict[str, str | bytes] = {}

    async def Echo(self, request: StringValue, context: Context) -> StringValue:
        return request

    def Missing(self, request: StringValue, context: Context) -> StringValue:
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        raise NotImplementedError("Method not implemented!")

    async def Fail(self, request: StringValue, context: Context) -> StringValue:
        match request.value:
            case "typed":
                raise errors.ModelNotFound("lab/fast")
            case "limited":
                raise errors.RateLimited("Slow down.", retry_after=2.5)
            case "unicode":
                raise errors.InvalidRequest("Żółw \N{TURTLE}\n% is not a model.", "model")
            case "timeout":
                raise TimeoutError("a socket of the handler")
        raise ValueError("hunter2 at http://10.0.0.1")

    async def Abort(self, request: StringValue, context: Context) -> StringValue:
        context.set_trailing_metadata((("x-own", "1"),))
        await context.abort(grpc.StatusCode.ABORTED, "own words")

    async def Wait(self, request: StringValue, context: Context) -> StringValue:
        context.add_done_callback(lambda _: self.closed.set())
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        return request

    async def Metadata(self, request: StringValue, context: Context) -> StringValue:
        call = current_call.get()
        assert call is not None
        self.metadata, self.principal = call.metadata, call.principal
        await context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "2"), ("x-raw-bin", b"\x00\xff")))
        return StringValue(value=call.request_id)

    async def Remaining(self, request: StringValue, context: Context) -> StringValue:
        call = current_call.get()
        assert call is not None
        return StringValue(value=str(call.time_remaining()))

    async def Group(self, request: StringValue, context: Context) -> StringValue:
        async def fails(error: Exception) -> None:
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(fails(errors.ModelNotFound("lab/fast")))
            if request.value:
                group.create_task(fails(ValueError("hunter2")))
        return request

    async def Stray(self, request: StringValue, context: Context) -> StringValue:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task
        return request

    async def Codes(self, request: StringValue, context: Context) -> StringValue:
        context.set_code(grpc.StatusCode.ALREADY_EXISTS)
        context.set_details("set, not raised")
        return request

    async def Suppress(self, request: StringValue, context: Context) -> StringValue:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("hunter2") from None
        finally:
            self.left.set()
        return request

    async def Count(self, request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        for number in range(int(request.value)):
            yield StringValue(value=str(number))

    async def Written(self, request: StringValue, context: Context) -> None:
        for number in range(int(request.value)):
            await context.write(StringValue(value=str(number)))

    async def CountThenFail(self, request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        yield StringValue(value="0")
        raise errors.UpstreamFailed("The provider broke off.") if request.value == "typed" else ValueError("hunter2")

    async def CountThenWait(self, request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        try:
            yield StringValue(value="0")
            self.entered.set()
            await self.proceed.wait()
        finally:
            self.left.set()

    async def Burst(self, request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        try:
            while True:
                self.sent += 1
                yield StringValue(value="x" * 100_000)
        finally:
            self.left.set()

    async def Sum(self, requests: AsyncIterator[StringValue], context: Context) -> StringValue:
        return StringValue(value=str(sum([int(request.value) async for request in requests])))

    async def Drain(self, requests: AsyncIterator[StringValue], context: Context) -> StringValue:
        self.entered.set()
        try:
            async for request in requests:
                self.received.append(request.value)
        finally:
            self.left.set()
        return StringValue(value=str(len(self.received)))

    async def Refuse(self, requests: AsyncIterator[StringValue], context: Context) -> StringValue:
        async for _ in requests:
            raise errors.UpstreamRejected("Too much.", 413)
        raise errors.InvalidRequest("Nothing came.")

    async def Stall(self, requests: AsyncIterator[StringValue], context: Context) -> StringValue:
        await self.proceed.wait()
        return StringValue(value=str(sum([len(request.value) async for request in requests])))

    async def Totals(self, requests: AsyncIterator[StringValue], context: Context) -> AsyncIterator[StringValue]:
        total = 0
        try:
            async for request in requests:
                total += int(request.value)
                yield StringValue(value=str(total))
        finally:
            self.left.set()


def add_probe_to_server(probe: Probe, server: Any) -> None:
    """What generated code does."""
    factories: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(UNARY, grpc.unary_unary_rpc_method_handler),
        **dict.fromkeys(STREAMING, grpc.unary_stream_rpc_method_handler),
        **dict.fromkeys(STREAMED_REQUEST, grpc.stream_unary_rpc_method_handler),
        **dict.fromkeys(DUPLEX, grpc.stream_stream_rpc_method_handler),
    }
    handlers = {
        name: factory(
            getattr(probe, name),
            request_deserializer=StringValue.FromString,
            response_serializer=StringValue.SerializeToString,
        )
        for name, factory in factories.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


class ProbeStub:
    """What generated code gives a caller."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        for name in (*UNARY, "Unknown"):
            setattr(self, name, _method(channel.unary_unary, name))
        for name in STREAMING:
            setattr(self, name, _method(channel.unary_stream, name))
        for name in STREAMED_REQUEST:
            setattr(self, name, _method(channel.stream_unary, name))
        for name in DUPLEX:
            setattr(self, name, _method(channel.stream_stream, name))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _method(factory: Callable[..., Any], name: str) -> Any:
    return factory(
        f"/{SERVICE}/{name}",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )
