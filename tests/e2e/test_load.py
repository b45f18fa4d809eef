"""Many streams at once, and readers that are slow: every stream arrives whole, and nobody waits for anybody else."""

import asyncio
from typing import Any

import pytest

from tests.checkers.chat_stream import check_chat_sse
from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.answers import Answer
from tests.e2e.bodies import PATHS, USER, body
from tests.e2e.frames import data_of, read_until
from tests.e2e.rpcs import CHAT
from tests.e2e.runs import DONE
from tests.e2e.shapes import Shape
from tests.model.chat_chunks import chunk
from tests.upstreams.scripted import sse, stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOUND = 60
WORDS = Answer(text=tuple(f"word {number} " for number in range(20)))


async def test_a_hundred_streams_at_once_are_each_whole(shape: Shape) -> None:
    for _ in range(100):
        shape.upstream.play(WORDS.script("lab", streamed=True))
    faces = [*PATHS, "chat"] * 25

    async with asyncio.timeout(BOUND):
        streams = await asyncio.gather(*(shape.raw(PATHS[face], body(face, "lab/m", streamed=True)) for face in faces))

    checks: dict[str, Any] = {"responses": check_responses_sse, "chat": check_chat_sse}
    checks["agent"] = lambda raw: check_chat_sse(raw, agent=True)
    assert [fault for face, raw in zip(faces, streams, strict=True) for fault in checks[face](raw)] == []
    assert all(b"word 19 " in raw for raw in streams)


async def test_a_hundred_streams_over_grpc_are_each_whole(shape: Shape) -> None:
    for _ in range(100):
        shape.upstream.play(WORDS.script("lab", streamed=True))
    asked = {"model": "lab/m", "messages": USER}

    async with asyncio.timeout(BOUND):
        streams = await asyncio.gather(*(CHAT.frames(shape, asked) for _ in range(100)))

    assert [fault for raw in streams for fault in check_chat_sse(raw)] == []


# More than a system may hold of it by itself: newer ones let each of the two connections on its way receive 32 MB ahead, and send 4 MB.
_PIECES = 1_600


async def test_a_reader_that_does_not_read_holds_its_upstream_back_and_nobody_else(shape: Shape) -> None:
    large = [sse(chunk({"role": "assistant", "content": "x" * 60_000}), done=False)]
    large += [sse(chunk({"content": "x" * 60_000}), done=False)] * (_PIECES - 1)
    over = asyncio.Event()
    # The gate is passed when the upstream has written everything before it.
    shape.upstream.play(stream(*large, sse(chunk({}, "stop"))), _Reached(over))

    async with asyncio.timeout(BOUND), shape.http.post(PATHS["chat"], json=body("chat", "lab/m", streamed=True)) as slow:
        seen = await read_until(slow, b"xxx")
        shape.upstream.play(DONE.script("lab", streamed=True))
        quick = await shape.raw(PATHS["chat"], body("chat", "lab/m", streamed=True))
        assert check_chat_sse(quick) == []
        assert not over.is_set()
        seen += await slow.content.read()

    assert over.is_set()
    assert check_chat_sse(seen) == []
    assert sum(len(one["choices"][0]["delta"].get("content", "")) for one in data_of(seen)) == _PIECES * 60_000


class _Reached(asyncio.Event):
    """A gate that is open, and says when the upstream comes by."""

    def __init__(self, reached: asyncio.Event) -> None:
        super().__init__()
        self._reached = reached

    async def wait(self) -> Any:
        self._reached.set()
        return True
