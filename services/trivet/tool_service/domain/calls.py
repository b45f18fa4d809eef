"""One running call as a stream of events."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from trivet.tool_service.domain.session import Session
from trivet.tool_service.domain.tools import Progress, ToolResult

Event = tuple[Progress, ...] | ToolResult
"""All progress that was ready, oldest first; or the result, which comes once and last."""

# Progress is advice: a reader who cannot keep up loses the oldest, not the gateway its memory.
_KEPT_PROGRESS = 64


async def run_call(session: Session, tool: str, arguments: dict[str, Any], timeout: float) -> AsyncGenerator[Event, None]:
    """The events of calling `tool`. Closing the iterator cancels the call and waits until the server was told.

    Raises:
        SessionError: in one of its forms but ConnectFailed.
    """
    ready: deque[Progress] = deque(maxlen=_KEPT_PROGRESS)
    news = asyncio.Event()

    def on_progress(progress: Progress) -> None:
        ready.append(progress)
        news.set()

    running = asyncio.ensure_future(session.call(tool, arguments, timeout, on_progress))
    running.add_done_callback(lambda _: news.set())
    try:
        while not running.done() or ready:
            await news.wait()
            news.clear()
            if ready:
                batch = tuple(ready)
                ready.clear()
                yield batch
        yield running.result()
    finally:
        running.cancel()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # a failure that the reader did not wait for is nobody's
