"""What a test of audio holds, and forms as clients send them."""

import io
from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai

from tests.upstreams.audio import AudioUpstream

KEY = "sk-test-0123456789"
METADATA = (("authorization", f"Bearer {KEY}"),)
TRANSCRIPTIONS = "/v1/audio/transcriptions"
LARGE = bytes(range(256)) * 8192
"""A file of 2 MiB: more than is read ahead of a call."""


@dataclass(frozen=True)
class Rig:
    """A running gateway: its provider, two clients of its REST face, and the address of AudioService."""

    upstream: AudioUpstream
    http: aiohttp.ClientSession
    client: openai.AsyncOpenAI
    grpc: str

    async def post(self, form: Any, path: str = TRANSCRIPTIONS, **options: Any) -> tuple[int, Any]:
        """The status and the JSON that answer a form."""
        async with self.http.post(path, data=form, **options) as answer:
            return answer.status, await answer.json()


def form(*parts: tuple[str, str | bytes | AsyncIterable[bytes]]) -> aiohttp.FormData:
    """A form of these parts, in their order; `file` is a file."""
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in parts:
        content = io.BytesIO(value) if isinstance(value, bytes) else value
        if name == "file":
            data.add_field(name, content, filename="a.wav", content_type="audio/wav")
        else:
            data.add_field(name, content)
    return data
