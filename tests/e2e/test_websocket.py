"""Responses over a WebSocket, in one process and in four: what an upstream is told, and that it is left with the client."""

import asyncio
from typing import Any

import orjson
import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.e2e.answers import ANSWERS
from tests.e2e.runs import play
from tests.e2e.shapes import Shape
from tests.upstreams.scripted import stream_head

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOUND = 60
CREATE = {"type": "response.create", "model": "lab/m", "input": "go", "store": False}
ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


async def asked(socket: Any, **pairs: Any) -> list[Any]:
    """The frames that answer a frame: CREATE with `pairs`."""
    await socket.send_json(CREATE | pairs)
    frames: list[Any] = []
    while not frames or frames[-1]["type"] not in ENDS:
        frames.append(orjson.loads(await socket.receive_str()))
    return frames


@pytest.mark.parametrize("dialect", ["lab", "oai"])
async def test_a_chain_of_responses_that_are_not_stored_tells_the_upstream_everything(shape: Shape, dialect: str) -> None:
    play(shape.upstream, ANSWERS["text"], ANSWERS["text"], dialect=dialect)

    async with asyncio.timeout(BOUND), shape.http.ws_connect("/v1/responses") as socket:
        first = await asked(socket, model=f"{dialect}/m")
        before = first[-1]["response"]["id"]
        second = await asked(socket, model=f"{dialect}/m", input="on", previous_response_id=before)

    assert check_responses_stream(first) == check_responses_stream(second) == []
    assert second[-1]["response"]["previous_response_id"] == before
    sent = shape.upstream.requests[1].body
    texts = [message["content"] for message in sent.get("messages") or sent["input"]]
    spoken = [text if isinstance(text, str) else "".join(part["text"] for part in text) for text in texts]
    assert spoken == ["go", "Hello, world.", "on"]
    assert "previous_response_id" not in sent


async def test_a_refusal_leaves_the_connection_open(shape: Shape) -> None:
    play(shape.upstream, ANSWERS["text"])

    async with asyncio.timeout(BOUND), shape.http.ws_connect("/api/llm/responses") as socket:
        refused = await asked(socket, model="nowhere/m")
        served = await asked(socket)

    assert (refused[0]["status"], refused[0]["error"]["code"]) == (404, "model_not_found")
    assert served[-1]["type"] == "response.completed"


async def test_the_upstream_is_left_with_the_client(shape: Shape) -> None:
    shape.upstream.play(stream_head(), *ANSWERS["text"].script("lab", streamed=True)[1:4], asyncio.Event())

    async with asyncio.timeout(BOUND), shape.http.ws_connect("/v1/responses") as socket:
        await socket.send_json(CREATE)
        await socket.receive_str()

    await shape.upstream.until(lambda: shape.upstream.abandoned == 1)
