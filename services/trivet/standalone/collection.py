"""When the garbage collector of a process that serves looks for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
        gc.enable()
