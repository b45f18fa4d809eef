"""The port to an MCP server: what the pool asks of a session, and the ways in which a session can fail."""

# ruff: noqa: N818 - an error is named as what happened; the base class says that it is one

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from trivet.tool_service.domain.targets import McpServer
from trivet.tool_service.domain.tools import Progress, Tool, ToolResult

OnProgress = Callable[[Progress], None]
"""Is called with the progress of a call as it comes, and must not wait."""


class SessionError(Exception):
    """An MCP server let us down. The message is public, and ends the sentence "The MCP server `x` ..."."""


class ConnectFailed(SessionError):
    """No session could be opened."""


class NeverReached(SessionError):
    """The session is of no more use, and the server surely did not act on the request: it may be sent again."""


class Interrupted(SessionError):
    """The connection ended before the answer. The server may have acted on the request."""


class TimedOut(SessionError):
    """No answer in time. The server was told to stop."""


class Answered(SessionError):
    """The server answered with an error, or with something that cannot be used."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Listing:
    """All tools of a server, and the seconds for which the server says they stay as they are; None if it does not say.

    It is the same object for as long as it is remembered, so whatever is made of it can be, too.
    """

    tools: tuple[Tool, ...]
    max_age: float | None = None
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(tool.name for tool in self.tools))


class Session(Protocol):
    """An open session with one server, safe to use from many tasks."""

    @property
    def closed(self) -> bool:
        """Whether the session has ended, from either side."""

    @property
    def protocol_version(self) -> str:
        """The MCP version that was agreed on."""

    async def list_tools(self) -> Listing:
        """Ask the server for all its tools.

        Raises:
            SessionError: in one of its forms but ConnectFailed.
        """

    async def call(self, tool: str, arguments: dict[str, Any], timeout: float, on_progress: OnProgress) -> ToolResult:
        """Call a tool, with a timeout in seconds.

        Cancelling who waits for the result cancels the call and waits until the server was told.

        Raises:
            SessionError: in one of its forms but ConnectFailed.
        """

    async def close(self) -> None:
        """End the session, within a few seconds at most. Calls that still run fail with Interrupted."""


class Connector(Protocol):
    """Opens sessions."""

    async def connect(self, server: McpServer, on_tools_changed: Callable[[], None]) -> Session:
        """Open a session. `on_tools_changed` is called whenever the server says that its tools changed.

        Raises:
            ConnectFailed: the server cannot be used now.
            AddressRefused, InvalidRequest: a URL from a request that must not be connected to.
        """
