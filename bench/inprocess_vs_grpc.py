"""What a call costs in process and over loopback gRPC: the same servicer, the same chain, in one run.

    .venv/bin/python bench/inprocess_vs_grpc.py

Prints microseconds of CPU per unary call and per streamed message, both ends together, and the ratio of the two
transports. The absolute numbers are the machine's; the ratios are what to compare.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import uvloop
from google.protobuf.wrappers_pb2 import StringValue

from trivet.kernel.testing import TRANSPORTS, serving

CALLS = 2_000
MESSAGES = 10_000
ROUNDS = 3
REQUEST = StringValue(value="x" * 200)


class Probe:
    async def Echo(self, request: StringValue, context: Any) -> StringValue:  # noqa: N802
        return request

    async def Count(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:  # noqa: N802
        for _ in range(MESSAGES):
            yield request


def register(probe: Probe, server: Any) -> None:
    codecs = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": StringValue.SerializeToString,
    }
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(probe.Echo, **codecs),
        "Count": grpc.unary_stream_rpc_method_handler(probe.Count, **codecs),
    }
    server.add_registered_method_handlers("bench.Probe", handlers)


async def microseconds(run: Callable[[], Awaitable[None]], count: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        await run()
        best = min(best, time.process_time() - started)
    return best / count * 1e6


async def measure(channel: grpc.aio.Channel) -> tuple[float, float]:
    codecs = {
        "request_serializer": StringValue.SerializeToString,
        "response_deserializer": StringValue.FromString,
    }
    echo: Any = channel.unary_unary("/bench.Probe/Echo", **codecs)
    count: Any = channel.unary_stream("/bench.Probe/Count", **codecs)

    async def unary() -> None:
        for _ in range(CALLS):
            await echo(REQUEST)

    async def stream() -> None:
        async for _ in count(REQUEST):
            pass

    await echo(REQUEST)
    return await microseconds(unary, CALLS), await microseconds(stream, MESSAGES)


async def main() -> None:
    costs = {}
    for transport in TRANSPORTS:
        async with serving(register, Probe(), transport=transport) as channel:
            costs[transport] = await measure(channel)
    for kind, wire, local in zip(("unary call", "streamed message"), costs["loopback"], costs["in-process"], strict=True):
        print(f"{kind:17} loopback gRPC {wire:7.1f} us   in process {local:6.1f} us   ratio {wire / local:5.1f}")


if __name__ == "__main__":
    uvloop.run(main())
