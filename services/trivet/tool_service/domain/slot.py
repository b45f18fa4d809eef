"""One place in the pool: a session that is opened on demand, shared, and replaced when it is lost."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from types import TracebackType

from trivet.kernel.errors import InvalidRequest
from trivet.tool_service.domain.session import ConnectFailed, Connector, Interrupted, Listing, NeverReached, Session
from trivet.tool_service.domain.targets import McpServer
from trivet.tool_service.domain.tool_list import ToolList

_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


@dataclass(slots=True, eq=False)
class Live:
    """An open session and its tools. Once retired, it serves those whom it serves and closes with the last of them."""

    session: Session
    tools: ToolList
    users: int = 0
    retired: bool = False


class SessionSlot:
    """Concurrent first users share one attempt to open the session.

    After a failed attempt that took n seconds, requests fail at once for n seconds (within 0.1 and 5): a dead server
    costs its callers at most half of their time, and one that comes back is found at once.
    """

    def __init__(self, server: McpServer, connector: Connector, tools_max_age: float, clock: Callable[[], float]) -> None:
        self.holders = 0
        self.last_used = clock()
        self.server = server
        self._connector = connector
        self._tools_max_age = tools_max_age
        self._clock = clock
        self._live: Live | None = None
        self._opening: asyncio.Task[Live] | None = None
        self._failure: ConnectFailed | InvalidRequest | None = None
        self._retry_at = 0.0
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def session_now(self) -> Session | None:
        """The open session, if there is one."""
        return self._live.session if self._live is not None and not self._live.session.closed else None

    @property
    def tools_now(self) -> Listing | None:
        """The tools of the open session, if there is one and they are known to be current."""
        return self._live.tools.known if self._live is not None and not self._live.session.closed else None

    @property
    def failure(self) -> Exception | None:
        """Why the last attempt to open a session failed, if it did."""
        return self._failure

    async def session(self) -> "Use":
        """A session for one request, in a context that says how long.

        Raises:
            ConnectFailed, InvalidRequest: no session can be opened now.
        """
        live = self._live
        return Use(self, live if live is not None and not live.session.closed else await self._open())

    async def close(self) -> None:
        """Close the session now, whoever uses it."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        if self._live is not None:
            await self._live.session.close()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _open(self) -> Live:
        if self._live is not None and self._live.session.closed:
            self.retire(self._live)
        if self._live is not None:
            return self._live
        if self._opening is None:
            if self._failure is not None and self._clock() < self._retry_at:
                raise self._failure
            self._opening = asyncio.create_task(self._connect(), context=Context())  # not this request's: it outlives it
        opening = self._opening
        await asyncio.wait({opening})  # unlike awaiting the task, this leaves it to the others if this caller goes
        if opening.cancelled():
            raise ConnectFailed("is being disconnected")
        return opening.result()

    async def _connect(self) -> Live:
        started = self._clock()
        tools = ToolList(self._tools_max_age, self._clock)
        try:
            session = await self._connector.connect(self.server, tools.changed)
        except (ConnectFailed, InvalidRequest) as error:
            self._failure = error
            now = self._clock()
            self._retry_at = now + min(max(now - started, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            raise
        finally:
            self._opening = None
        self._failure = None
        self._live = Live(session, tools)
        return self._live

    def retire(self, live: Live) -> None:
        """Let the next request open another session."""
        if self._live is live:
            self._live = None
        live.retired = True
        self.close_if_done(live)

    def close_if_done(self, live: Live) -> None:
        """Close a session that is retired, and that nobody uses any more."""
        if live.retired and not live.users:
            task = asyncio.create_task(live.session.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class Use:
    """A session in use by one request. One that is found lost is retired, so that the next request opens another."""

    __slots__ = ("_live", "_slot")

    def __init__(self, slot: SessionSlot, live: Live) -> None:
        self._slot = slot
        self._live = live
        live.users += 1

    def __enter__(self) -> Live:
        return self._live

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, NeverReached | Interrupted):
            self._slot.retire(self._live)
        self._live.users -= 1
        if self._live.retired:
            self._slot.close_if_done(self._live)
