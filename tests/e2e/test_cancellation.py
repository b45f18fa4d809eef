"""A caller that leaves ends everything that was done for it: the upstream's connection and the running call of a tool."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.answers import ANSWERS
from tests.e2e.bodies import USER
from tests.e2e.frames import Json
from tests.e2e.rpcs import AGENT, CHAT, RESPONSES, Method
from tests.e2e.runs import calling, play, run
from tests.e2e.shapes import Shape
from tests.model.chat_chunks import TEXT
from tests.upstreams.scripted import piece, sse, stream_head

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOUND = 30


@dataclass(frozen=True)
class Asking:
    """A request, as it is made over either face."""

    path: str
    body: Json
    method: Method

    @property
    def streams(self) -> bool:
        return self.method.descriptor.server_streaming

    @asynccontextmanager
    async def over(self, face: str, shape: Shape) -> AsyncIterator[None]:
        """Ask, and leave at the end of the block: in the middle of the stream, or before there is an answer."""
        if face == "grpc":
            call = self.method.call(shape, self.body)
            waiting: Any = asyncio.ensure_future(call.read() if self.streams else call)
        else:
            waiting = asyncio.ensure_future(shape.http.post(self.path, json=self.body))
        yield
        if face == "rest" and self.streams:
            answer = await waiting
            await answer.content.readany()
            answer.close()
        elif face == "grpc":
            call.cancel()
            await asyncio.wait([waiting])
        else:
            waiting.cancel()
            await asyncio.wait([waiting])


ASKED = {
    "response stream": Asking("/v1/responses", {"model": "lab/m", "input": "go", "stream": True}, RESPONSES),
    "native response stream": Asking("/v1/responses", {"model": "oai/m", "input": "go", "stream": True}, RESPONSES),
    "response": Asking("/v1/responses", {"model": "lab/m", "input": "go"}, Method("model", "CreateResponse")),
    "chat stream": Asking("/v1/chat/completions", {"model": "lab/m", "messages": USER, "stream": True}, CHAT),
    "chat": Asking("/v1/chat/completions", {"model": "lab/m", "messages": USER}, Method("model", "CreateChatCompletion")),
    "run stream": Asking("/v1/agent/responses", run(), AGENT),
    "run": Asking("/v1/agent/responses", run(stream=False), Method("agent", "CreateAgentResponse")),
}
of_every_request = pytest.mark.parametrize("asking", ASKED.values(), ids=ASKED)
over_each_face = pytest.mark.parametrize("face", ["rest", "grpc"])


@of_every_request
@over_each_face
async def test_the_upstream_is_left_too(shape: Shape, asking: Asking, face: str) -> None:
    dialect = asking.body["model"].partition("/")[0]
    begun = ANSWERS["text"].script(dialect, streamed=True)[1:4]
    shape.upstream.play(*([stream_head(), *begun] if asking.streams else []), asyncio.Event())

    async with asyncio.timeout(BOUND), asking.over(face, shape):
        await shape.upstream.until(lambda: len(shape.upstream.requests) == 1)

    await shape.upstream.until(lambda: shape.upstream.abandoned == 1)


@pytest.mark.parametrize("asking", [ASKED["run stream"], ASKED["run"]], ids=["run stream", "run"])
@over_each_face
async def test_the_running_tool_is_left_too(shape: Shape, asking: Asking, face: str) -> None:
    play(shape.upstream, calling(("gated", {}), ("gated", {})))

    async with asyncio.timeout(BOUND), asking.over(face, shape):
        await shape.tools.until(lambda: shape.tools.running == 2)

    await shape.tools.until(lambda: shape.tools.running == 0)
    assert shape.tools.cancelled == 2


@pytest.mark.parametrize("asking", [ASKED["response"], ASKED["chat"], ASKED["run"]], ids=["response", "chat", "run"])
async def test_a_deadline_that_passes_ends_the_upstream_call(shape: Shape, asking: Asking) -> None:
    shape.upstream.play(asyncio.Event())

    for milliseconds in (300, 1_000, 3_000, 10_000):
        status, body = await shape.post(asking.path, asking.body, headers={"x-trivet-request-timeout": str(milliseconds)})
        assert (status, body["error"]["code"]) == (408, "request_timeout")
        if shape.upstream.requests:
            break  # the machine was quick enough for the call to come as far

    await shape.upstream.until(lambda: shape.upstream.abandoned == 1)


async def test_a_deadline_that_passes_in_a_stream_is_told_by_its_last_event(shape: Shape) -> None:
    shape.upstream.play(stream_head(), piece(sse(*TEXT[:2], done=False)), asyncio.Event())

    body = ASKED["chat stream"].body
    async with shape.http.post("/v1/chat/completions", json=body, headers={"x-trivet-request-timeout": "1000"}) as answer:
        raw = await answer.read()

    assert answer.status == 200
    assert b'"code":"request_timeout"' in raw
    assert raw.endswith(b"data: [DONE]\n\n")
    await shape.upstream.until(lambda: shape.upstream.abandoned == 1)
