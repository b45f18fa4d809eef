"""A turn of the loop, let pass."""

from collections.abc import Generator
from types import coroutine


@coroutine
def next_turn() -> Generator[None]:
    """Return in the next turn of the loop, as `asyncio.sleep(0)` does, with one function less to go through: each whole answer lets two turns pass."""
    yield
