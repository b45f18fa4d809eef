"""Notices that the configuration file has changed, however it is written."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 1.0
"""How often is looked whether the file is another one, or has another time, which is one call of the system."""

_YOUNG_SECONDS: Final = 3.0
"""What was written so lately may be written again without another time: those of some disks have whole seconds, or even ones."""

_SETTLED_SECONDS: Final = 0.1
"""How long the file must stay as it is: whoever writes it may empty it first, and write it in pieces."""


class ConfigWatch:
    """Watches a file for other content than it has now.

    What the system tells of the file is only a reason to look into it: what counts is what can be read under the file's name. So
    a file that is replaced by renaming, one behind a link that is changed (as Kubernetes does it) and one that is gone for a
    moment are all the same, on network disks, too. We do not have the system tell us: some disks tell nothing, and where it does,
    it wakes us for every write to any file of the folder, and our database may be one of them.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._state: tuple[int, ...] = ()
        self._seen = self._digest()

    async def changes(self) -> AsyncGenerator[None]:
        """Yields whenever there is other content, and it has settled."""
        while True:
            # In a thread: a network disk may not answer.
            if await asyncio.to_thread(self._may_have_changed):
                found = await self._settled()
                if found and found != self._seen:
                    self._seen = found
                    yield
            await asyncio.sleep(_LOOK_SECONDS)

    def _may_have_changed(self) -> bool:
        before = self._state
        try:
            found = self._file.stat()
        except OSError:
            self._state = ()
            return False
        self._state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return self._state != before or time.time() - max(found.st_mtime, found.st_ctime) < _YOUNG_SECONDS

    async def _settled(self) -> bytes:
        found = await asyncio.to_thread(self._digest)
        while found != self._seen:
            await asyncio.sleep(_SETTLED_SECONDS)
            before, found = found, await asyncio.to_thread(self._digest)
            if before == found:
                break
        return found

    def _digest(self) -> bytes:
        """What the file holds now, in short; nothing if there is none, or it can't be read."""
        try:
            return hashlib.sha256(self._file.read_bytes()).digest()
        except OSError:
            return b""
