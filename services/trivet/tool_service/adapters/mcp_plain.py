"""Tool calls over streamable HTTP as plain requests, beside the SDK's client that has opened the session.

Nearly all that a warm session is used for is calls, and the SDK's way for one (streams in memory, tasks, two models of each
message, an HTTP client for everything) costs ten times what the request does. So a call is one request on a kept connection
here, in the words that the SDK has used with the server (`HttpEdge.spoken`). What is more than a call goes the SDK's way.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final

import httpx2
from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_NAME_HEADER, encode_header_value, mcp_param_headers

from trivet.kernel.errors import InvalidRequest
from trivet.kernel.http1.awaited import Awaited
from trivet.kernel.http1.coding import decoded
from trivet.kernel.http1.connection import Connection, Patience
from trivet.kernel.http1.failures import HttpError, LateError
from trivet.kernel.http1.origin import Origin
from trivet.kernel.http1.request import first_line, lines
from trivet.tool_service.adapters import http_faults, mcp_messages
from trivet.tool_service.adapters.event_stream import MessageParser, TooLargeError
from trivet.tool_service.adapters.http_edge import HttpEdge, Spoken, tls
from trivet.tool_service.adapters.mcp_messages import Message, NotPlain
from trivet.tool_service.domain.session import Answered, Interrupted, OnProgress, SessionError, TimedOut

_log = logging.getLogger(__name__)

# The SDK counts its requests of the same session from 1.
_FIRST_ID: Final = 1 << 30
_CONNECT_SECONDS: Final = 10.0
# How long a server may take to take note of something.
_COURTESY_SECONDS: Final = 5.0
_SETTLE_SECONDS: Final = 0.1
# How often the rest of a stream is asked for in vain.
_RESUMPTIONS: Final = 2
# A call has its own timeout; this is only never reached.
_PATIENCE: Final = Patience(read=1e6, total=1e6)
_OF_ONE_REQUEST: Final = frozenset({
    "accept-encoding", "connection", "content-length", "mcp-method", "mcp-name", "transfer-encoding",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class CallableTool:
    """A tool that the server has listed; `params` are the arguments that travel as headers, too."""

    name: str
    params: Mapping[tuple[str, ...], str]


class PlainCalls:
    """The calls of one session. `on_tools_changed` is called when the server says so in the middle of one."""

    def __init__(self, edge: HttpEdge, max_bytes: int, on_tools_changed: Callable[[], None]) -> None:
        self._edge = edge
        self._max_bytes = max_bytes
        self._on_tools_changed = on_tools_changed
        self._ids = count(_FIRST_ID)
        self._site: _Site | None = None
        self._origins: dict[str, Origin] = {}
        self._closed = False

    @property
    def possible(self) -> bool:
        """Whether it is known how to speak with the server."""
        return self._edge.spoken is not None

    def call(
        self, tool: CallableTool, arguments: Mapping[str, Any], timeout: float, on_progress: OnProgress
    ) -> Coroutine[Any, Any, Message]:
        """Make a call; its answer. Cancelling who waits for that cancels the call at the server.

        Raises:
            NotPlain: nothing was called.
            SessionError: in one of its forms but ConnectFailed.
        """
        return _Call(self, tool, arguments, on_progress).made(timeout)

    def close(self) -> None:
        """Close all connections: calls that still run fail with Interrupted."""
        self._closed = True
        for origin in self._origins.values():
            origin.close()

    # ---- for its calls ---------------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """The id of the next call."""
        return next(self._ids)

    def site_now(self) -> "_Site":
        """Where the call goes. Raises NotPlain."""
        spoken, site = self._edge.spoken, self._site
        if spoken is None:
            raise NotPlain
        if site is None or site.spoken is not spoken:
            try:
                site = self._site = _Site(spoken, self._origin(spoken.url))
            except HttpError as error:
                self._edge.spoken = None
                raise NotPlain from error
        return site

    async def connected(self, site: "_Site") -> Connection:
        """A connection. Raises NeverReached."""
        try:
            return site.free() or await site.origin.open(_CONNECT_SECONDS)
        except HttpError as error:
            self._edge.forget_addresses()
            raise http_faults.not_sent(slow=isinstance(error, LateError)).error() from error

    async def tell(self, site: "_Site", message: bytes) -> None:
        """Post what has no answer. That it does not arrive is no failure: the server, or its session, is gone then."""
        try:
            async with asyncio.timeout(_COURTESY_SECONDS):
                connection = await self.connected(site)
                connection.start(site.post(len(message)), message)
                try:
                    await connection.head()
                    await connection.settle(_SETTLE_SECONDS)
                finally:
                    connection.release()
        except (TimeoutError, HttpError, SessionError):
            _log.debug("an MCP server takes no note of a message", exc_info=True)

    def parser(self) -> MessageParser:
        """What reads a stream of messages."""
        return MessageParser(self._max_bytes)

    async def whole(self, read: Any, limit: int | None = None) -> bytes:
        """All of a body. Raises Answered if it is too large."""
        body = await read()
        limit = self._max_bytes if limit is None else limit
        while len(body) <= limit and (more := await read()):
            body += more
        if len(body) > limit:
            raise self.too_large(limit)
        return bytes(body)

    def too_large(self, limit: int | None = None) -> SessionError:
        """The answer is larger than what is taken."""
        return http_faults.too_large(self._max_bytes if limit is None else limit).error()

    def lost(self) -> SessionError:
        """The connection of a call has ended."""
        return Interrupted("was disconnected before it answered") if self._closed else http_faults.lost().error()

    def note(self, message: Message) -> None:
        """Take note of a notification that is about no call."""
        if message["method"] == "notifications/tools/list_changed":
            self._on_tools_changed()

    def cookie_came(self) -> None:
        """A cookie has to be sent from now on, and only the SDK's client knows how."""
        self._edge.spoken = None

    def _origin(self, url: httpx2.URL) -> Origin:
        """The server that is asked; another one than that of the endpoint where the SDK was redirected to its secure twin."""
        root = str(url.copy_with(userinfo=b"", path="/", query=None, fragment=None))
        if root not in self._origins:
            find = partial(self._find, url) if self._edge.guarded else None
            self._origins[root] = Origin(root, _PATIENCE, find=find, trusting=tls() if url.scheme == "https" else None)
        return self._origins[root]

    async def _find(self, url: httpx2.URL) -> Sequence[str]:
        try:
            return await self._edge.addresses(url)
        except InvalidRequest as error:
            raise http_faults.Fault(http_faults.FaultKind.REFUSED, error.message).error() from error
        except OSError as error:
            raise http_faults.unresolved().error() from error


class _Site:
    """Where requests of the session go, and what their heads begin with, for as long as the SDK speaks so."""

    def __init__(self, spoken: Spoken, origin: Origin) -> None:
        self.spoken = spoken
        self.origin = origin
        # The era without sessions: there, closing the connection is what cancels a request.
        self.stateless = MCP_METHOD_HEADER in spoken.headers
        self.in_session = "mcp-session-id" in spoken.headers
        self._named: dict[str, bytes] = {}
        target = spoken.url.raw_path.decode("ascii")
        # A compressor in between would hold progress back until it has a block full.
        kept = {n: v for n, v in spoken.headers.items() if n not in _OF_ONE_REQUEST} | {"accept-encoding": "identity"}
        self._post = (first_line("POST", target) + lines(kept)).encode()
        unsent = {"accept", "content-type"}
        self._get = (first_line("GET", target) + lines({n: v for n, v in kept.items() if n not in unsent})).encode()

    def post(self, length: int, headers: bytes = b"") -> bytes:
        """The head of a POST."""
        return b"%b%bcontent-length: %d\r\n\r\n" % (self._post, headers, length)

    def call(self, tool: CallableTool, arguments: Mapping[str, Any], length: int) -> bytes:
        """The head of a tool call."""
        if not self.stateless:
            return self.post(length)
        named = self._named.get(tool.name)
        if named is None:
            said = {MCP_METHOD_HEADER: "tools/call", MCP_NAME_HEADER: encode_header_value(tool.name)}
            named = self._named[tool.name] = lines(said).encode()
        if tool.params:
            named += lines(mcp_param_headers(tool.params, arguments)).encode()
        return self.post(length, named)

    def free(self) -> Connection | None:
        """A connection that another call was made on, and that has surely not ended."""
        return self.origin.free(surely=True)

    def resumption(self, last_id: str) -> bytes:
        """The head of a request for the rest of a stream."""
        return self._get + lines({"accept": "text/event-stream", "last-event-id": last_id}).encode() + b"\r\n"


class _Call:
    """One call while it is made."""

    __slots__ = ("_arguments", "_calls", "_connection", "_events", "_id", "_on_progress", "_read", "_sent", "_site", "_tool")

    def __init__(self, calls: PlainCalls, tool: CallableTool, arguments: Mapping[str, Any], on_progress: OnProgress) -> None:
        self._calls = calls
        self._site = calls.site_now()
        self._id = calls.next_id()
        self._tool = tool
        self._arguments = arguments
        self._on_progress = on_progress
        self._connection: Connection | None = None
        self._sent = False

    async def made(self, timeout: float) -> Message:
        """The answer, within so many seconds. Whoever leaves early cancels the call at the server."""
        try:
            async with asyncio.timeout(timeout):
                answer = await self._begin()
                while answer is None:
                    answer = await self._more()
                return answer
        except TimeoutError:
            await self._abandon(f"timed out after {timeout:g} s")
            raise TimedOut(f"did not answer within {timeout:g} s") from None
        except asyncio.CancelledError:
            await self._abandon("the caller has left")
            raise
        except HttpError as error:
            raise self._calls.lost() from error
        finally:
            self._release()

    async def _begin(self) -> Message | None:
        """Send the call; its answer, or None where that comes as a stream."""
        tool, arguments = self._tool, self._arguments
        body = mcp_messages.call_of(self._id, tool.name, arguments, self._site.spoken.meta)
        head = self._site.call(tool, arguments, len(body))
        self._connection = connection = self._site.free() or await self._calls.connected(self._site)
        connection.start(head, body)
        self._sent = True
        await connection.head(Awaited.WHOLE)
        status, headers = connection.status, connection.headers
        read = decoded(connection.read, headers.get(b"content-encoding", b""))
        if read is None:
            raise Answered("answered in an encoding that was not asked for")
        if b"set-cookie" in headers:
            self._calls.cookie_came()
        if status >= 300:
            return await self._refusal(status, read)
        kind = headers.get(b"content-type", b"").lower()
        if kind.startswith(b"application/json"):
            return mcp_messages.parsed(await self._calls.whole(read))
        if status == 202 or not kind.startswith(b"text/event-stream"):
            raise Answered("answered with something that is not MCP")
        self._read = read
        self._events = self._calls.parser()
        return None

    async def _more(self) -> Message | None:
        """Takes what is ready of the stream; the answer if it has come."""
        try:
            data = await self._read()
        except HttpError:
            data = b""
        if not data:
            await self._resume()
            return None
        try:
            messages = self._events.feed(data)
        except TooLargeError:
            raise self._calls.too_large() from None
        for text in messages:
            message = mcp_messages.parsed(text)
            if "method" not in message:
                await self._settle()
                return message
            if "id" in message:
                await self._calls.tell(self._site, mcp_messages.answer_to(message))
            elif (step := mcp_messages.progress_in(message, self._id)) is not None:
                self._on_progress(step)
            else:
                self._calls.note(message)
        return None

    async def _abandon(self, reason: str) -> None:
        """Tell the server that nobody waits for the answer any more."""
        if self._sent and not self._site.stateless:
            await self._calls.tell(self._site, mcp_messages.cancellation_of(self._id, reason))

    def _release(self) -> None:
        """Give the connection back, or close it where more would come."""
        if self._connection is not None:
            self._connection.release()
            self._connection = None

    async def _refusal(self, status: int, read: Any) -> Message:
        if status < 400:
            raise NotPlain  # a redirect: nobody has read the call
        body = await self._calls.whole(read, http_faults.ERROR_BODY_BYTES)
        fault = http_faults.of_status(status, body, in_session=self._site.in_session)
        if fault is not None:
            raise fault.error()
        return mcp_messages.parsed(body)

    async def _settle(self) -> None:
        if self._connection is not None and not self._connection.complete:
            await self._connection.settle(_SETTLE_SECONDS)

    async def _resume(self) -> None:
        """Go on with the stream, which has ended before the answer, where the server has said how."""
        for _ in range(_RESUMPTIONS):
            self._release()
            if not self._events.last_id:
                break
            await asyncio.sleep(self._events.retry_seconds)
            try:
                self._connection = connection = await self._calls.connected(self._site)
                connection.start(self._site.resumption(self._events.last_id), b"")
                await connection.head()
            except (HttpError, SessionError):
                continue
            read = decoded(connection.read, connection.headers.get(b"content-encoding", b""))
            kind = connection.headers.get(b"content-type", b"").lower()
            if connection.status == 200 and kind.startswith(b"text/event-stream") and read is not None:
                self._read = read
                self._events.begin()
                return
        raise Interrupted("was disconnected before it answered")
