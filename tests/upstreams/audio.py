"""A provider of OpenAI's audio API, on aiohttp: it hears as it is told to, and keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

Answer = Callable[[web.Request, "Heard"], Awaitable[web.StreamResponse]]


@dataclass
class Heard:
    """A request: the parts of its form in their order, as name and text, and its file."""

    headers: dict[str, str] = field(default_factory=dict)
    fields: list[tuple[str, str]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    filename: str | None = None
    content_type: str | None = None
    content: bytearray = field(default_factory=bytearray, repr=False)
    size: int = 0

    def has(self, content: bytes) -> bool:
        """Whether this is the file's content; an assertion that compares them would show both."""
        return self.content == content


class AudioUpstream:
    """`answer` says what is answered once a form is heard; `before` may answer before anything of it is read.

    `keep` is how much of a file is kept. `reached` is awaited with the bytes of a file so far, and may wait. `left` is set when a
    client leaves in the middle.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Heard] = []
        self.asked: list[Any] = []
        self.keep = 1 << 30
        self.answer: Answer = said({"text": "hello"})
        self.before: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.speech: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.reached: Callable[[int], Awaitable[None]] | None = None
        self.changed = asyncio.Event()
        self.left = asyncio.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def until(self, reached: Callable[[], bool]) -> None:
        """Waits for what requests bring about."""
        async with asyncio.timeout(30):
            while not reached():
                self.changed.clear()
                await self.changed.wait()

    async def hear(self, request: web.Request) -> web.StreamResponse:
        if self.before is not None:
            return await self.before(request)
        heard = Heard(dict(request.headers))
        self.requests.append(heard)
        try:
            async for part in await request.multipart():
                assert isinstance(part, BodyPartReader)
                heard.order.append(part.name or "")
                if part.name == "file":
                    await self._file(part, heard)
                else:
                    heard.fields.append((part.name or "", await part.text()))
            return await self.answer(request, heard)
        except (asyncio.CancelledError, ConnectionError, web.RequestPayloadError):
            self.left.set()
            raise

    async def _file(self, part: BodyPartReader, heard: Heard) -> None:
        heard.filename, heard.content_type = part.filename, part.headers.get("Content-Type")
        while data := await part.read_chunk(1 << 16):
            heard.size += len(data)
            heard.content += data[: max(0, self.keep - len(heard.content))]
            self.changed.set()
            if self.reached is not None:
                await self.reached(heard.size)

    async def speak(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.changed.set()
        assert self.speech is not None
        try:
            return await self.speech(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise


def said(value: Any, status: int = 200) -> Answer:
    """An answer in JSON."""

    async def answer(_: web.Request, __: Heard) -> web.StreamResponse:
        return web.json_response(value, status=status)

    return answer


def written(text: str, content_type: str = "text/plain") -> Answer:
    """An answer that is text."""

    async def answer(_: web.Request, __: Heard) -> web.StreamResponse:
        return web.Response(text=text, content_type=content_type, charset="utf-8")

    return answer


def streamed(*pieces: bytes, content_type: str = "text/event-stream", cut: bool = False) -> Answer:
    """An answer in pieces; `cut` off before its end."""

    async def answer(request: web.Request, _: Heard | None = None) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if cut:
            assert request.transport is not None
            request.transport.close()
        return response

    return answer


@asynccontextmanager
async def audio_upstream() -> AsyncIterator[AudioUpstream]:
    """One that listens on a free port."""
    upstream = AudioUpstream()
    app = web.Application(client_max_size=1 << 40)
    app.router.add_post("/v1/audio/transcriptions", upstream.hear)
    app.router.add_post("/v1/audio/translations", upstream.hear)
    app.router.add_post("/v1/audio/speech", upstream.speak)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream.port = runner.addresses[0][1]
    try:
        yield upstream
    finally:
        await runner.cleanup()
