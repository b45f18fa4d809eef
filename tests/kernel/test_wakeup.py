"""Waiting for a change of state: who is woken, and who is forgotten."""

import asyncio

from trivet.kernel.wakeup import Wakeup


async def test_everybody_who_waits_is_woken() -> None:
    wakeup = Wakeup()
    waiting = [asyncio.ensure_future(wakeup.wait()) for _ in range(3)]
    await asyncio.sleep(0)

    wakeup.notify()

    async with asyncio.timeout(30):
        await asyncio.gather(*waiting)


async def test_who_gives_up_is_forgotten_though_nothing_ever_changes() -> None:
    wakeup = Wakeup()
    waiting = asyncio.ensure_future(wakeup.wait())
    await asyncio.sleep(0)
    assert wakeup.waiters

    waiting.cancel()
    await asyncio.wait({waiting})

    assert not wakeup.waiters
