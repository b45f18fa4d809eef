"""What a call costs in process and over both wires of gRPC: the same servicer, the same interceptors; CPU of both ends together."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pyperf
import uvloop

from bench.micro.messages import KINDS
from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.interceptors.validation import validation
from trivet.kernel.testing import TRANSPORTS, Transport, serving
from trivet.model.v1.model_service_pb2_grpc import ModelServiceServicer, ModelServiceStub, add_ModelServiceServicer_to_server

BATCHES = (1, 4, 20)
EVENTS = 200

_REQUEST = codec_for(CreateChatCompletionRequest).loads(KINDS["chat request"][1])
_ANSWER = codec_for(ChatCompletion).loads(KINDS["chat answer"][1])
_CHUNK = codec_for(ChatCompletionChunk).loads(KINDS["chat chunk"][1])

Call = Callable[[Any], Awaitable[None]]


class Probe(ModelServiceServicer):
    """Answers at once, with so many chunks in each message of a stream."""

    def __init__(self, batch: int) -> None:
        self._messages = [ChatCompletionChunkBatch(chunks=[_CHUNK] * batch)] * (EVENTS // batch)

    async def CreateChatCompletion(self, request: Any, context: Any) -> ChatCompletion:  # noqa: N802
        return _ANSWER

    async def StreamChatCompletion(self, request: Any, context: Any) -> AsyncIterator[ChatCompletionChunkBatch]:  # noqa: N802
        for message in self._messages:
            yield message


def _probe(batch: int) -> Any:
    # It lacks what nobody calls.
    made: Any = Probe
    return made(batch)


def add_to(runner: pyperf.Runner) -> None:
    """Add the benchmarks; of streams, per event."""
    for transport in TRANSPORTS:
        runner.bench_time_func(f"{transport}: unary call", _timed(transport, 1, _unary))
        for batch in BATCHES:
            name = f"{transport}: stream, {batch} in a message"
            runner.bench_time_func(name, _timed(transport, batch, _stream), inner_loops=EVENTS)


async def _unary(stub: Any) -> None:
    await stub.CreateChatCompletion(_REQUEST)


async def _stream(stub: Any) -> None:
    async for _ in stub.StreamChatCompletion(_REQUEST):
        pass


def _timed(transport: Transport, batch: int, call: Call) -> Callable[[int], float]:
    return lambda loops: uvloop.run(_cpu_seconds(transport, batch, call, loops))


async def _cpu_seconds(transport: Transport, batch: int, call: Call, loops: int) -> float:
    async with serving(add_ModelServiceServicer_to_server, _probe(batch), transport=transport, judges=(validation,)) as channel:
        stub = ModelServiceStub(channel)
        # The first call connects, and compiles what is compiled once.
        await call(stub)
        began = time.process_time()
        for _ in range(loops):
            await call(stub)
        return time.process_time() - began
