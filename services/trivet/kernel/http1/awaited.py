"""What is waited for of an answer."""

from enum import Enum, auto


class Awaited(Enum):
    """What whoever waits for a head waits for besides, so as not to be woken twice."""

    NOTHING = auto()
    BEGINNING = auto()
    """The first bytes of the body."""

    WHOLE = auto()
    """All of a body whose length the head tells, as far as it may wait for a reader."""
