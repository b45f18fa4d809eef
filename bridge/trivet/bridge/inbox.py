"""The frames of a WebSocket that wait for their turn."""

import asyncio

from trivet.bridge.client_frames import Frame


class Inbox:
    """A queue of at most `most` frames, which hold at most `most_bytes` together unless it is one alone."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._waiting: asyncio.Queue[Frame | None] = asyncio.Queue()

    def offer(self, frame: Frame) -> bool:
        """Take a frame, if there is room for it."""
        full = self._waiting.qsize() >= self._most or self._bytes + len(frame.data) > self._most_bytes
        if full and not self._waiting.empty():
            return False
        self._bytes += len(frame.data)
        self._waiting.put_nowait(frame)
        return True

    def close(self) -> None:
        """Wake who waits for the next frame."""
        self._waiting.put_nowait(None)

    async def next(self) -> Frame | None:
        """The frame whose turn it is; None when the inbox was closed."""
        frame = await self._waiting.get()
        self._bytes -= len(frame.data) if frame else 0
        return frame
