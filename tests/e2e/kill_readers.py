"""Clients of background responses that don't give up when the process that they talk to is killed."""

import asyncio
import json
import random
from collections.abc import AsyncIterator

import aiohttp

from tests.e2e.frames import Json
from tests.e2e.kill_farm import Farm, Seen

ENDS = {"response.completed", "response.incomplete", "response.failed"}
_ENDED = {"completed", "incomplete", "failed", "cancelled"}
_GONE = (aiohttp.ClientError, TimeoutError)


async def begin(http: aiohttp.ClientSession, farm: Farm, job: str, *, tools: bool) -> Seen:
    """Start a response; a job whose answer is lost may have begun, and is not asked for again under its name."""
    attempt = 0
    while True:
        attempt += 1
        name = f"{job}-{attempt}"
        asked: Json = {"model": "lab/m", "input": name, "background": True}
        if tools:
            asked["tools"] = [{"type": "mcp", "server_label": "tools", "connector_id": "tools", "require_approval": "never"}]
        try:
            async with http.post(f"{farm.url()}/v1/responses", json=asked) as answer:
                told = await answer.json()
                assert answer.status == 200, told
                return Seen(name, told["id"])
        except _GONE:
            await asyncio.sleep(0.05)


async def follow(http: aiohttp.ClientSession, farm: Farm, seen: Seen, reader: int) -> None:
    """Read the stream to its end: the first reader from its beginning, the second from anywhere in it."""
    events = seen.streams[reader]
    last = random.randrange(40) if reader else -1
    while True:
        try:
            async for event in _stream(http, farm.url(), seen.response_id, last):
                if event["type"] == "error":
                    # Whether the response or only this stream has failed: the first would be told again.
                    break
                events.append(event)
                seen.note(event)
                last = event["sequence_number"]
                if event["type"] in ENDS:
                    return
            else:
                # Begun beyond the end: there is nothing to be told, and that is told at once.
                if reader and not events:
                    return
        except _GONE:
            pass
        await asyncio.sleep(0.05)


async def poll(http: aiohttp.ClientSession, farm: Farm, seen: Seen) -> None:
    """Ask for the response until it has ended."""
    while not seen.polled or seen.polled[-1]["status"] not in _ENDED:
        await asyncio.sleep(0.5)
        try:
            async with http.get(f"{farm.url()}/v1/responses/{seen.response_id}") as answer:
                told = await answer.json()
                assert answer.status == 200, told
                seen.polled.append(told)
        except _GONE:
            continue


async def replay(http: aiohttp.ClientSession, url: str, response_id: str) -> list[Json]:
    """The whole stream once more, from one process."""
    return [event async for event in _stream(http, url, response_id, -1)]


async def _stream(http: aiohttp.ClientSession, url: str, response_id: str, after: int) -> AsyncIterator[Json]:
    query = {"stream": "true"} | ({"starting_after": str(after)} if after >= 0 else {})
    async with http.get(f"{url}/v1/responses/{response_id}", params=query) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            if line.startswith(b"data: ") and line != b"data: [DONE]\n":
                yield json.loads(line[6:])
