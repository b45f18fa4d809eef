"""What is done before anything is measured."""

import uvloop

from bench.load.client import connected
from bench.site import Running
from bench.upstream.scripts import PLAIN

_REQUESTS = 100


def warm(one: Running) -> None:
    """Have a target done what a process does once: imports, compiled codecs, lists of prices."""
    uvloop.run(_warm(one))


async def _warm(one: Running) -> None:
    faces = one.target.faces
    async with connected(one.port) as connection:
        for number in range(_REQUESTS):
            await connection.ask(one.target.request(faces[number % len(faces)], PLAIN))
