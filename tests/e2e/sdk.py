"""The official SDK as a client of a gateway. Every stream that it reads is kept, byte by byte, and must be sound."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai

from tests.checkers.chat_stream import check_chat_sse
from tests.checkers.responses_stream import check_responses_sse
from tests.standalone.compose import KEY

CHECKERS = {"responses": check_responses_sse, "completions": check_chat_sse}


class Recorder(httpx2.AsyncBaseTransport):
    """Sends requests as usual, and keeps the bytes of every event stream that answers, by the last part of the path."""

    def __init__(self) -> None:
        self._transport = httpx2.AsyncHTTPTransport()
        self.streams: list[tuple[str, bytearray]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._transport.handle_async_request(request)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            kept = bytearray()
            self.streams.append((request.url.path.rpartition("/")[2], kept))
            response.stream = _Kept(response.stream, kept)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    def faults(self) -> list[str]:
        """What is wrong with the streams so far."""
        return [fault for path, kept in self.streams for fault in CHECKERS[path](bytes(kept))]


class _Kept(httpx2.AsyncByteStream):
    def __init__(self, stream: Any, kept: bytearray) -> None:
        self._stream = stream
        self._kept = kept

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            self._kept += data
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def sdk(base_url: str, key: str = KEY) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client that never tries again; on leaving, its streams are checked."""
    recorder = Recorder()
    async with openai.AsyncOpenAI(
        base_url=base_url,
        api_key=key,
        max_retries=0,
        timeout=60,
        http_client=openai.DefaultAsyncHttpxClient(transport=recorder),
    ) as client:
        yield client
    assert recorder.faults() == []
