"""The official SDK as a client of a gateway. Every stream that it reads is kept, byte by byte, and must be sound."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai

from tests.checkers.chat_stream import check_chat_sse
from tests.checkers.responses_stream import check_responses_sse
from tests.standalone.compose import KEY


class Recorder(httpx2.AsyncBaseTransport):
    """Sends requests as usual, and keeps the bytes of every event stream that answers, by the URL that was asked."""

    def __init__(self) -> None:
        self._transport = httpx2.AsyncHTTPTransport()
        self.streams: list[tuple[httpx2.URL, _Kept]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._transport.handle_async_request(request)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = kept = _Kept(response.stream)
            self.streams.append((request.url, kept))
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    def faults(self) -> list[str]:
        """What is wrong with the streams so far; one that the client left, or asked for from its middle on, is no whole one."""
        return [
            fault
            for url, kept in self.streams
            if kept.ended and "starting_after" not in url.params
            for fault in (check_chat_sse if url.path.endswith("/completions") else check_responses_sse)(bytes(kept.data))
        ]


class _Kept(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.data = bytearray()
        self._over = False

    @property
    def ended(self) -> bool:
        """Whether the client read on until the server said no more; the SDK itself leaves at `[DONE]`."""
        return self._over or b"data: [DONE]" in self.data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            self.data += data
            yield data
        self._over = True

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def sdk(base_url: str, key: str = KEY, *, strict: bool = True) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client that never tries again and, if `strict`, takes only what fits its types; on leaving, its streams are checked."""
    recorder = Recorder()
    async with openai.AsyncOpenAI(
        base_url=base_url,
        api_key=key,
        max_retries=0,
        timeout=60,
        _strict_response_validation=strict,
        http_client=openai.DefaultAsyncHttpxClient(transport=recorder),
    ) as client:
        yield client
    assert recorder.faults() == []
