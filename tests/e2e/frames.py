"""Reads event streams as a client does."""

import json
from typing import Any

import aiohttp

Json = dict[str, Any]


def data_of(raw: bytes) -> list[Json]:
    """The JSON of every event, `[DONE]` left out."""
    frames = (line[6:] for line in raw.split(b"\n") if line.startswith(b"data: "))
    return [json.loads(frame) for frame in frames if frame != b"[DONE]"]


async def read_until(answer: aiohttp.ClientResponse, mark: bytes) -> bytes:
    """What comes, up to the network piece with `mark` in it. Raises AssertionError if the stream ends without it."""
    seen = b""
    while mark not in seen:
        piece = await answer.content.readany()
        assert piece, f"ended without {mark!r}: {seen!r}"
        seen += piece
    return seen
