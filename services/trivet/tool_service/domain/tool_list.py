"""The remembered tool list of one session."""

import asyncio
from collections.abc import Awaitable, Callable

from trivet.tool_service.domain.session import Listing
from trivet.tool_service.domain.tools import Tool


class ToolList:
    """Asks once, remembers, and asks again after a change or when the list is too old.

    `max_age` is used where the server gives no age itself; a server that says 0 means that it has not thought about it.
    """

    def __init__(self, max_age: float, clock: Callable[[], float]) -> None:
        self._max_age = max_age
        self._clock = clock
        self._asking = asyncio.Lock()
        self._changes = 0
        self._tools: tuple[Tool, ...] | None = None
        self._expires = 0.0

    def changed(self) -> None:
        """Forget the list; one that is being fetched is not remembered, for it may be older than the change."""
        self._changes += 1
        self._tools = None

    async def get(self, fetch: Callable[[], Awaitable[Listing]]) -> tuple[Tool, ...]:
        """The tools, from memory if possible; concurrent callers share one `fetch`."""
        async with self._asking:
            if self._tools is not None and self._clock() < self._expires:
                return self._tools
            changes = self._changes
            listing = await fetch()
            self._expires = self._clock() + (listing.max_age or self._max_age)
            self._tools = listing.tools if changes == self._changes else None
            return listing.tools
