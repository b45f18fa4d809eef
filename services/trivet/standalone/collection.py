"""When the garbage collector of a process that serves looks for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NEW_OBJECTS: Final = 10_000
"""So many objects are made, beyond those that go, before the collector looks through them.

A conversation of a thousand messages is some tens of thousands, all in use until it is answered; with Python's 700 they are looked through
over and over while they are made, and each message costs the more the more there are. With many times as many it would gain no more, and
the garbage that libraries do make would stay for longer.
"""


@contextmanager
def building() -> Iterator[None]:
    """For the block, make what lives as long as the process: modules, classes, compiled codecs.

    There is no garbage among it. The collector would look at all of it over and over, at first because there is ever more of it,
    and later with each full collection, in the middle of a stream; it is frozen instead, which means never looked at again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(_NEW_OBJECTS)
        gc.enable()
