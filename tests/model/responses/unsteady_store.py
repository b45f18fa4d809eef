"""A store that is slow or away when a test says so, and counts what is written."""

import asyncio
from typing import Any

from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Change, StoredItem, StoredResponse

_NO_CHANGE = Change()


class UnsteadyStore:
    """Everything is as in `store`, but for writes: they wait until `open` is set, and raise `fault` while there is one."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None
        self.writes = 0
        self.asked = asyncio.Event()
        """Set whenever something is to be written."""
        self.written = asyncio.Event()
        """Set whenever something was written, or could not be."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def add(self, response: StoredResponse, change: Change = _NO_CHANGE, *, runner: str = "") -> None:
        await self._do(self._store.add, response, change, runner=runner)

    async def change(self, response_id: str, change: Change, *, runner: str = "") -> bool:
        return bool(await self._do(self._store.change, response_id, change, runner=runner))

    async def add_items(self, conversation_id: str, items: list[StoredItem]) -> bool:
        return bool(await self._do(self._store.add_items, conversation_id, items))

    async def _do(self, write: Any, *arguments: Any, **more: Any) -> Any:
        self.asked.set()
        await self.open.wait()
        self.writes += 1
        try:
            if self.fault is not None:
                raise self.fault
            return await write(*arguments, **more)
        finally:
            self.written.set()
