"""One of several processes that serve the same: what it is told by its supervisor, and tells it."""

import asyncio
import os
import signal
import sys

READY = b"ready\n"
"""What a worker writes to its standard output once it serves; it writes nothing else there."""


def told() -> str:
    """The line that the supervisor writes when it starts us: the key that was made for all, "" where keys are configured."""
    return sys.stdin.readline().removesuffix("\n")


def tell_ready() -> None:
    """Say that we serve."""
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()


def end_with_the_supervisor() -> None:
    """End as at SIGTERM when the supervisor has ended, however that came about: nobody else holds the other end of our input."""
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _end)


def _end() -> None:
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    os.kill(os.getpid(), signal.SIGTERM)
