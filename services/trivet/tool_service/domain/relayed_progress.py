"""A running call that tells its progress by calling back, as a stream of events."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from trivet.tool_service.domain.session import OnProgress
from trivet.tool_service.domain.tools import Event, Progress, ToolResult

# Progress is advice: a reader who cannot keep up loses the oldest, not the gateway its memory.
_KEPT_PROGRESS = 64


async def relayed(call: Callable[[OnProgress], Coroutine[Any, Any, ToolResult]]) -> AsyncGenerator[Event, None]:
    """The events of `call`, which is given what to tell its progress to. Closing the iterator cancels it and waits for its end."""
    ready: deque[Progress] = deque(maxlen=_KEPT_PROGRESS)
    news = asyncio.Event()

    def on_progress(progress: Progress) -> None:
        ready.append(progress)
        news.set()

    running = asyncio.create_task(call(on_progress))
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
