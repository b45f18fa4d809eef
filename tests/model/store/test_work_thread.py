"""The thread that a link to a file works in."""

import asyncio
import threading

import pytest

from trivet.model_service.adapters.store.work_thread import WorkThread


async def test_what_is_to_be_done_is_done_in_one_thread_and_in_its_order() -> None:
    worker, done = WorkThread("w"), []

    def work(number: int) -> str:
        done.append(number)
        return threading.current_thread().name

    names = await asyncio.gather(*(worker.do(lambda number=number: work(number)) for number in range(5)))  # type: ignore[misc]

    assert (done, set(names)) == ([0, 1, 2, 3, 4], {"w"})
    worker.stop()


async def test_what_work_raises_is_raised_where_it_is_awaited_and_the_next_work_is_done() -> None:
    worker = WorkThread("w")

    with pytest.raises(ZeroDivisionError):
        await worker.do(lambda: 1 // 0)

    assert await worker.do(lambda: 1) == 1
    worker.stop()


async def test_work_that_nobody_waits_for_any_more_disturbs_nobody() -> None:
    worker, begun, go_on = WorkThread("w"), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait()

    left = worker.do(work)
    await asyncio.to_thread(begun.wait)
    left.cancel()
    go_on.set()

    assert await worker.do(lambda: 2) == 2
    worker.stop()


async def test_it_ends_when_it_is_stopped_after_what_there_was_to_do() -> None:
    worker = WorkThread("w")
    thread = await worker.do(threading.current_thread)
    last = worker.do(lambda: 3)

    worker.stop()

    assert await last == 3
    await asyncio.to_thread(thread.join)
    assert not thread.is_alive()
