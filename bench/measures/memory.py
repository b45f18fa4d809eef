"""What a target has in memory while streams are open that say nothing."""

import asyncio
import time

import uvloop

from bench.load.client import Broken, Connection, connect
from bench.measures.warmth import warm
from bench.site import Running
from bench.targets.target import Face, Request
from bench.upstream.scripts import Script

_HELD = Script("held", 2, 120_000)
_SETTLE_SECONDS = 1.0


def settle(one: Running) -> None:
    """Have it give back what its start has left."""
    warm(one)
    time.sleep(_SETTLE_SECONDS)


def under_streams(one: Running, streams: int, face: Face = "chat") -> int:
    """The bytes of all of its processes while so many streams are open."""
    return uvloop.run(_under_streams(one, streams, one.target.request(face, _HELD)))


async def _under_streams(one: Running, streams: int, request: Request) -> int:
    connections: list[Connection] = []
    try:
        # A few at a time: it is not the arrival that is measured.
        for begun in range(0, streams, 20):
            connections += await asyncio.gather(*(_held(one.port, request) for _ in range(min(20, streams - begun))))
        await asyncio.sleep(_SETTLE_SECONDS)
        return one.memory_bytes()
    finally:
        for connection in connections:
            connection.close()
        await asyncio.sleep(0)


async def _held(port: int, request: Request) -> Connection:
    """A connection whose stream has begun."""
    connection = await connect(port)
    begun = asyncio.Event()
    asking = asyncio.create_task(connection.ask(request, lambda _: begun.set()))
    waiting = asyncio.create_task(begun.wait())
    await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if asking.done():
        waiting.cancel()
        asking.result()
        raise Broken("a stream ended that should stay open")
    # It ends when the connection is closed, and nobody waits for that.
    asking.add_done_callback(lambda done: done.cancelled() or done.exception())
    return connection
