"""A client of WebSocket mode, over a bridge of its own; all of it within a bound of time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from tests.agent.neighbours import ScriptedTools
from tests.bridge.keepers import Keeper
from tests.bridge.rig import Rig, bridge
from trivet.bridge.settings import BridgeSettings

BOUND_SECONDS = 30
PATH = "/v1/responses"
CREATE = {"type": "response.create", "model": "lab/m", "input": "go"}
ENDS = ("response.completed", "response.incomplete", "response.failed", "error")

Socket = aiohttp.ClientWebSocketResponse


@asynccontextmanager
async def over(keeper: Keeper, settings: BridgeSettings | None = None) -> AsyncIterator[Rig]:
    """A bridge over `keeper`."""
    async with asyncio.timeout(BOUND_SECONDS), bridge(keeper, ScriptedTools({}), settings) as rig:
        yield rig


@asynccontextmanager
async def talk(keeper: Keeper, settings: BridgeSettings | None = None) -> AsyncIterator[tuple[Rig, Socket]]:
    """A bridge over `keeper`, and an open connection to it."""
    async with over(keeper, settings) as rig, rig.http.ws_connect(PATH) as socket:
        yield rig, socket


async def answer(socket: Socket) -> list[Any]:
    """The frames up to the one that ends an answer."""
    frames: list[Any] = []
    while not frames or frames[-1]["type"] not in ENDS:
        frames.append(orjson.loads(await socket.receive_str()))
    return frames


async def asked(socket: Socket, **pairs: Any) -> list[Any]:
    """The answer to a frame: CREATE with `pairs`."""
    await socket.send_json(CREATE | pairs)
    return await answer(socket)


def text_of(frames: list[Any]) -> str:
    """What was said by the deltas."""
    return "".join(frame["delta"] for frame in frames if frame["type"] == "response.output_text.delta")
