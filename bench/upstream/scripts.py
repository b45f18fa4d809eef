"""What a prompt tells the upstream to do.

A prompt holds one line such as `bench:paced:50:40`. It passes through every gateway unchanged, so no gateway needs to be told more
than the address of the upstream.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

Kind = Literal["plain", "burst", "paced", "held", "agent", "tagged"]

_WORDS = re.compile(rb"bench:([a-z]+):(\d+):(\d+):(\w*)")


@dataclass(frozen=True)
class Script:
    """One way to answer.

    plain   one answer with `size` words
    burst   a stream of `size` chunks, written one after the other without waiting
    paced   a stream of `size` chunks, one each `pause_ms`; of those that begin together, each waits a little longer after its first, so
            that their chunks come by themselves, as those of strangers do, and are not sent and read in heaps
    held    a stream that stays open after its first chunk, for `pause_ms`
    agent   a tool call where no tool has answered yet, else a text of `size` words
    tagged  paced, and each chunk says which it is of which stream: `tag`.number
    """

    kind: Kind
    size: int = 0
    pause_ms: int = 0
    tag: str = ""

    def prompt(self) -> str:
        """The words that ask for it."""
        return f"bench:{self.kind}:{self.size}:{self.pause_ms}:{self.tag}"

    @property
    def streamed(self) -> bool:
        """Whether a request for it should ask for a stream."""
        return self.kind != "plain"


PLAIN = Script("plain", 40)
BURST = Script("burst", 200)
PACED = Script("paced", 50, 40)
AGENT = Script("agent", 20)


def script_in(body: bytes) -> Script:
    """What the prompt in the body asks for; a body without any is answered plainly."""
    found = _WORDS.search(body)
    return _script(*found.groups()) if found else PLAIN


@cache
def _script(kind: bytes, size: bytes, pause: bytes, tag: bytes) -> Script:
    return Script(cast("Kind", kind.decode()), int(size), int(pause), tag.decode())
