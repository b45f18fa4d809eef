"""The remembered tool list of one session."""

import asyncio
from collections.abc import Awaitable, Callable

from trivet.tool_service.domain.session import Listing


class ToolList:
    """Asks once, remembers, and asks again after a change or when the list is too old.

    `max_age` is used where the server gives no age itself; a server that says 0 means that it has not thought about it.
    """

    def __init__(self, max_age: float, clock: Callable[[], float]) -> None:
        self._max_age = max_age
        self._clock = clock
        self._asking = asyncio.Lock()
        self._changes = 0
        self._listing: Listing | None = None
        self._expires = 0.0

    def changed(self) -> None:
        """Forget the list; one that is being fetched is not remembered, for it may be older than the change."""
        self._changes += 1
        self._listing = None

    @property
    def known(self) -> Listing | None:
        """The tools, if they are remembered and not too old."""
        return self._listing if self._listing is not None and self._clock() < self._expires else None

    async def get(self, fetch: Callable[[], Awaitable[Listing]]) -> Listing:
        """The tools, from memory if possible; concurrent callers share one `fetch`."""
        if (known := self.known) is not None:
            return known
        async with self._asking:
            if (known := self.known) is not None:
                return known
            changes = self._changes
            listing = await fetch()
            self._expires = self._clock() + (listing.max_age or self._max_age)
            self._listing = listing if changes == self._changes else None
            return listing
