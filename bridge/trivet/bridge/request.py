"""A request to the bridge: what aiohttp knows of it, and what is found out about it on its way."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import HttpVersion11, web

from trivet.kernel.call import REQUEST_ID
from trivet.kernel.interceptors.request_id import accepted_request_id


class Request(web.BaseRequest):
    """A request.

    `id` names it in logs and to its sender, `principal` is the name of its key, once that was judged, `variables` are those of
    its path, and `marks` are headers of every answer to it.
    """

    id: str
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


Handler = Callable[[Request], Awaitable[web.StreamResponse]]


def request_maker(max_body_bytes: int) -> Callable[..., Request]:
    """What makes requests of what aiohttp has read; a body may have so many bytes."""
    loop = asyncio.get_running_loop()

    def make(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Request:
        request = Request(message, payload, protocol, writer, task, loop, client_max_size=max_body_bytes)
        request.id = accepted_request_id(request.headers.get(REQUEST_ID))
        request.marks = {REQUEST_ID: request.id}
        return request

    return make
