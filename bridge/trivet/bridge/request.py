"""A request to the bridge: what aiohttp knows of it, and what is found out about it on its way; and what answers it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, Protocol

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from trivet.kernel.call import REQUEST_ID
from trivet.kernel.interceptors.request_id import accepted_request_id, new_request_id


class Request(web.BaseRequest):
    """A request.

    `id` names it in logs and to its sender, `principal` is the name of its key, once that was judged, `variables` are those of
    its path, and `marks` are headers of every answer to it. `head` is what stands before its body, which is what `arriving` brings,
    and `answering` writes the answer: aiohttp has properties for what is in there, which cost more than what they tell.
    """

    id: str
    max_body_bytes: int
    head: RawRequestMessage
    arriving: StreamReader
    answering: AbstractStreamWriter
    principal = "-"
    variables: Mapping[str, str] = MappingProxyType({})
    marks: Mapping[str, str] = MappingProxyType({})

    async def ask_for_body(self) -> None:
        """Tell a client that waits for it to send its body. Raises HTTPExpectationFailed if it waits for something else."""
        expected = self.headers.get("Expect")
        if expected is None or self.version != HttpVersion11:
            return
        if expected.lower() != "100-continue":
            raise web.HTTPExpectationFailed
        await self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It counts as nothing of the answer: aiohttp tells by this whether that has begun.
        self.writer.output_size = 0


class Reply(Protocol):
    """What aiohttp's server and the bridge ask of an answer: a response of aiohttp's, or what is as good (see `written.Whole`)."""

    @property
    def status(self) -> int: ...

    @property
    def prepared(self) -> bool:
        """Whether its headers have left."""
        ...

    @property
    def headers(self) -> MutableMapping[str, str]: ...

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open."""
        ...

    async def prepare(self, request: Any, /) -> Any:
        """Write the head, and maybe more."""
        ...

    async def write_eof(self) -> None:
        """Write what is left."""
        ...


Handler = Callable[[Request], Awaitable[Reply]]


def request_maker(max_body_bytes: int) -> Callable[..., Request]:
    """What makes requests of what aiohttp has read; a body may have so many bytes."""
    loop = asyncio.get_running_loop()

    def make(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Request:
        request = Request(message, payload, protocol, writer, task, loop, client_max_size=max_body_bytes)
        request.max_body_bytes = max_body_bytes
        request.head, request.arriving, request.answering = message, payload, writer
        given = message.headers.get(REQUEST_ID)
        request.id = new_request_id() if given is None else accepted_request_id(given)
        request.marks = {REQUEST_ID: request.id}
        return request

    return make
