"""A thread that does one thing after another for an event loop.

An executor would do as well, and take twice as long: it has a future of its own for each thing, beside that of the loop.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Task = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class WorkThread:
    """Its thread starts with the first thing to do, and does not keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._name = name
        self._thread: threading.Thread | None = None

    def do(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Have `work` done; what it returns or raises is the future's. To be called in the loop."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.put((work, future))
        return future

    def stop(self) -> None:
        """End the thread when it has done what there is to do."""
        self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            _do(*task)
            # Nothing of it is to be kept alive while the thread waits.
            del task


def _do(work: Callable[[], Any], future: "asyncio.Future[Any]") -> None:
    loop = future.get_loop()
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it is told to who waits for it
        _tell(loop, _fail, future, error)
    else:
        _tell(loop, _finish, future, result)


def _tell(loop: asyncio.AbstractEventLoop, say: Callable[..., None], future: "asyncio.Future[Any]", told: object) -> None:
    try:
        loop.call_soon_threadsafe(say, future, told)
    except RuntimeError:
        # The loop was closed meanwhile: nobody waits any more.
        if not loop.is_closed():
            raise


def _finish(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
