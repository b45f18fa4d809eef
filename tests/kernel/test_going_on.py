"""Text that goes on with the last message of a stream: handed to a reader that waits, in the turn of the loop in which it comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunk, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.runs import ACCEPTED, more_of
from trivet.kernel.testing import Transport, serving
from trivet.model.v1.model_service_pb2_grpc import ModelServiceServicer, ModelServiceStub, add_ModelServiceServicer_to_server
from trivet.model.v1.response_event_body_pb2 import OutputTextDeltaEvent
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_request_pb2 import CreateResponseRequest

BOUND_SECONDS = 30
LONG = "x" * 200_000
own_transports = pytest.mark.parametrize("transport", ["in-process", "unix"])


def chunks(*texts: str) -> ChatCompletionChunkBatch:
    return ChatCompletionChunkBatch(id="c", chunks=[ChatCompletionChunk(contents=texts)])


def events(*texts: str, first: int) -> ResponseEventBatch:
    run = OutputTextDeltaEvent(deltas=texts, sequence_number=first, item_id="msg_1")
    return ResponseEventBatch(events=[ResponseEvent(output_text_delta=run)])


class Speaker(ModelServiceServicer):
    """Says what the test tells it to: texts by `more` where that takes them, and by a message where it does not."""

    def __init__(self) -> None:
        self.to_say: asyncio.Queue[Any] = asyncio.Queue()
        self.taken: list[bool] = []
        self.has_way: bool | None = None

    async def StreamChatCompletion(self, request: CreateChatCompletionRequest, context: Any) -> None:
        await self._speak(context)

    async def StreamResponse(self, request: CreateResponseRequest, context: Any) -> None:
        await self._speak(context)

    async def _speak(self, context: Any) -> None:
        more = more_of(context)
        self.has_way = more is not None
        while (said := await self.to_say.get()) is not None:
            if isinstance(said, list):
                self.taken.append(more is not None and more(said))
            else:
                await context.write(said)

    async def said(self) -> None:
        """Everything so far has been."""
        async with asyncio.timeout(BOUND_SECONDS):
            while not self.to_say.empty():
                await asyncio.sleep(0)


class Listener:
    """A reader that takes what it is offered, if it `takes`, and remembers it, told by the test as `came`."""

    def __init__(self, takes: bool = True) -> None:
        self.takes = takes
        self.heard: list[Any] = []
        self.news = asyncio.Event()

    def more(self, texts: list[str]) -> bool:
        return self._take(list(texts))

    def message(self, message: Any) -> bool:
        return self._take(list(message.chunks[0].contents) if isinstance(message, ChatCompletionChunkBatch) else message)

    def _take(self, said: Any) -> bool:
        if self.takes:
            self.heard.append(said)
            self.news.set()
        return self.takes

    async def has_heard(self, *said: Any) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while self.heard != list(said):
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def speaking(transport: Transport) -> AsyncIterator[tuple[Speaker, ModelServiceStub]]:
    speaker = Speaker()
    async with serving(add_ModelServiceServicer_to_server, speaker, transport=transport) as channel:
        yield speaker, ModelServiceStub(channel)


async def waiting(call: Any, listener: Listener | None) -> "asyncio.Task[Any]":
    """A task that reads the next message, and waits for it by now."""
    task = asyncio.create_task(call.read(listener) if listener is not None else call.read())
    for _ in range(3):
        await asyncio.sleep(0)
    return task


@own_transports
async def test_a_reader_that_waits_gets_it_without_being_woken(transport: Transport) -> None:
    async with speaking(transport) as (speaker, stub):
        call, listener = stub.StreamChatCompletion(CreateChatCompletionRequest(), metadata=(ACCEPTED,)), Listener()
        speaker.to_say.put_nowait(chunks("a"))
        assert (await call.read()).chunks[0].contents == ["a"]

        task = await waiting(call, listener)
        for said in (["b"], ["c", "d"], ["\U0001f422"]):
            speaker.to_say.put_nowait(said)
        await listener.has_heard(["b"], ["c", "d"], ["\U0001f422"])
        assert (speaker.taken, task.done()) == ([True, True, True], False)

        speaker.to_say.put_nowait(ChatCompletionChunkBatch(chunks=[ChatCompletionChunk(extra="{}")]))
        listener.takes = False
        assert (await task).chunks[0].extra == "{}"
        speaker.to_say.put_nowait(None)
        assert await call.read() is grpc.aio.EOF


@own_transports
async def test_events_are_numbered_on(transport: Transport) -> None:
    async with speaking(transport) as (speaker, stub):
        call, listener = stub.StreamResponse(CreateResponseRequest(), metadata=(ACCEPTED,)), Listener()
        speaker.to_say.put_nowait(events("a", "b", first=4))
        await call.read()

        task = await waiting(call, listener)
        speaker.to_say.put_nowait(["c", "d"])
        speaker.to_say.put_nowait(["e"])
        over_a_wire = transport == "unix"
        await listener.has_heard(*([events("c", "d", first=6), events("e", first=8)] if over_a_wire else [["c", "d"], ["e"]]))
        task.cancel()


async def test_a_reader_that_takes_nothing_over_a_wire_gets_messages() -> None:
    async with speaking("unix") as (speaker, stub):
        call, listener = stub.StreamResponse(CreateResponseRequest(), metadata=(ACCEPTED,)), Listener(takes=False)
        speaker.to_say.put_nowait(events("a", first=4))
        await call.read()
        for reader in (listener, None):
            speaker.to_say.put_nowait(["b"])
            await call.read(reader)
        speaker.to_say.put_nowait(["c"])
        assert await call.read() == events("c", first=7)


@pytest.mark.parametrize("reader", [Listener(takes=False), None])
async def test_in_process_a_reader_that_takes_nothing_has_to_be_sent_a_message(reader: Listener | None) -> None:
    async with speaking("in-process") as (speaker, stub):
        call = stub.StreamChatCompletion(CreateChatCompletionRequest(), metadata=(ACCEPTED,))
        speaker.to_say.put_nowait(chunks("a"))
        await call.read()

        task = await waiting(call, reader)
        speaker.to_say.put_nowait(["b"])
        await speaker.said()
        assert speaker.taken == [False]
        speaker.to_say.put_nowait(chunks("b"))
        assert (await task).chunks[0].contents == ["b"]


async def test_nothing_overtakes_a_message_that_nobody_has_read() -> None:
    async with speaking("in-process") as (speaker, stub):
        call, listener = stub.StreamChatCompletion(CreateChatCompletionRequest(), metadata=(ACCEPTED,)), Listener()
        speaker.to_say.put_nowait(chunks("a"))
        await call.read()

        task = await waiting(call, listener)
        for said in (chunks("b"), ["c"]):
            speaker.to_say.put_nowait(said)
        assert (await task).chunks[0].contents == ["b"]
        await speaker.said()
        assert (speaker.taken, listener.heard) == ([False], [])


@own_transports
async def test_what_follows_something_else_than_a_run_needs_a_message(transport: Transport) -> None:
    async with speaking(transport) as (speaker, stub):
        call = stub.StreamChatCompletion(CreateChatCompletionRequest(), metadata=(ACCEPTED,))
        listener = Listener(takes=transport == "unix")
        speaker.to_say.put_nowait(ChatCompletionChunkBatch(chunks=[ChatCompletionChunk(extra="{}")]))
        await call.read()

        task = await waiting(call, listener)
        speaker.to_say.put_nowait(["b"])
        await speaker.said()
        await asyncio.sleep(0)
        assert speaker.taken == [False]
        task.cancel()


async def test_what_does_not_fit_the_window_of_a_wire_waits_as_a_message() -> None:
    async with speaking("unix") as (speaker, stub):
        call = stub.StreamChatCompletion(CreateChatCompletionRequest(), metadata=(ACCEPTED,))
        speaker.to_say.put_nowait(chunks("a"))
        await call.read()
        speaker.to_say.put_nowait([LONG])
        speaker.to_say.put_nowait(chunks(LONG))
        assert (await call.read()).chunks[0].contents == [LONG]
        assert speaker.taken == [False]


@pytest.mark.parametrize(("transport", "metadata"), [("loopback", (ACCEPTED,)), ("in-process", ()), ("unix", ())])
async def test_there_is_no_such_way_for_who_does_not_understand_runs_nor_over_grpcio(
    transport: Transport, metadata: tuple[tuple[str, str], ...]
) -> None:
    async with speaking(transport) as (speaker, stub):
        call = stub.StreamChatCompletion(CreateChatCompletionRequest(), metadata=metadata)
        speaker.to_say.put_nowait(chunks("a"))
        await call.read()
        assert speaker.has_way is False


@own_transports
async def test_a_call_that_its_reader_has_left_takes_nothing_more(transport: Transport) -> None:
    async with speaking(transport) as (speaker, stub):
        call, listener = stub.StreamChatCompletion(CreateChatCompletionRequest(), metadata=(ACCEPTED,)), Listener()
        speaker.to_say.put_nowait(chunks("a"))
        await call.read()
        task = await waiting(call, listener)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        speaker.to_say.put_nowait(["b"])
        assert await call.code() is grpc.StatusCode.CANCELLED
        assert listener.heard == []
