"""Notices that the configuration file has changed, however it is written."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path

from watchfiles import awatch

_LOOK_SECONDS = 5.0
"""How often is looked without being told: network disks and some mounts tell nothing."""

_SETTLED_SECONDS = 0.1
"""How long the file must stay as it is: whoever writes it may empty it first, and write it in pieces."""

_log = logging.getLogger("trivet.config")


class ConfigWatch:
    """Watches a file for other content than it has now.

    What the system tells of the folders is only a reason to look: what counts is what can be read under the file's name. So a
    file that is replaced by renaming, one behind a link that is changed (as Kubernetes does it) and one that is gone for a moment
    are all the same.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = self._digest()

    async def changes(self) -> AsyncGenerator[None]:
        """Yields whenever there is other content, and it has settled."""
        async with aclosing(self._reasons_to_look()) as reasons:
            async for _ in reasons:
                found = await self._settled()
                if found and found != self._seen:
                    self._seen = found
                    yield

    async def _settled(self) -> bytes:
        found = await asyncio.to_thread(self._digest)
        while found != self._seen:
            await asyncio.sleep(_SETTLED_SECONDS)
            before, found = found, await asyncio.to_thread(self._digest)
            if before == found:
                break
        return found

    async def _reasons_to_look(self) -> AsyncGenerator[None]:
        told = asyncio.Event()
        telling = asyncio.create_task(self._tell(told))
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await told.wait()
                told.clear()
                yield
        finally:
            telling.cancel()
            await asyncio.wait({telling})

    async def _tell(self, told: asyncio.Event) -> None:
        """Say whenever something happens in the folders of the file and of what it links to."""
        folders = {self._file.absolute().parent, self._file.resolve().parent}
        # For what happened before: by then the folders are watched.
        asyncio.get_running_loop().call_soon(told.set)
        try:
            async for _ in awatch(*folders, watch_filter=None, recursive=False, debounce=500, step=100):
                told.set()
        except (OSError, RuntimeError) as error:
            _log.warning("changes of files are not told here (%s): the file is looked at every %g s", error, _LOOK_SECONDS)

    def _digest(self) -> bytes:
        """What the file holds now, in short; nothing if there is none, or it can't be read."""
        try:
            return hashlib.sha256(self._file.read_bytes()).digest()
        except OSError:
            return b""
