"""Where a provider is, and what all requests to it begin with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from trivet.kernel.http1.origin import Origin
from trivet.kernel.http1.request import FRAMING, first_line, lines, merged

_MOST_HEADS: Final = 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is, and the key that opens it ("" for none)."""

    base_url: str
    api_key: str = field(default="", repr=False)


Authorize = Callable[[str], Mapping[str, str]]
"""The headers by which a key authorizes requests."""

Sign = Callable[[str, str, Mapping[str, str], bytes], Mapping[str, str]]
"""What signs a request: its method, URL, headers and body become the headers to add."""

Locate = Callable[[str, str], str]
"""Where something is: a path of the dialect, and the model that is asked, become what the base URL is followed by."""


def bearer(key: str) -> Mapping[str, str]:
    """The key as a bearer token, where there is one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def key_header(name: str) -> Authorize:
    """The key under a header of its own, where there is one."""
    return lambda key: {name: key} if key else {}


def as_named(path: str, _model: str) -> str:
    """The path as the dialect has it."""
    return path


class Asked(NamedTuple):
    """What is asked for, but for its body; no `content_type`: that is another one at each call."""

    method: str
    path: str
    model: str = ""
    accept: str = "application/json"
    content_type: str = "application/json"


class Site:
    """The server of an endpoint, and the heads of requests to it, each made once.

    Headers stand in this rank: those of `fixed`, which are the provider's own and its key, those of a call, and what is asked for.
    """

    def __init__(self, endpoint: Endpoint, origin: Origin, fixed: Mapping[str, str], locate: Locate) -> None:
        """`origin` is that of the endpoint's URL."""
        self.endpoint = endpoint
        self.origin = origin
        self._fixed = {name: value for name, value in fixed.items() if name.lower() not in FRAMING}
        self._names = frozenset(name.lower() for name in self._fixed)
        self._locate = locate
        self.head: Callable[[Asked], bytes] = lru_cache(_MOST_HEADS)(self._head)
        """The head of a request, but for the headers of the call, what tells its length, and the empty line.

        Raises UnreachableError if it could not be sent.
        """

    def headers(self, given: Mapping[str, str]) -> bytes:
        """Headers of one call. Raises UnreachableError if they could not be sent."""
        return lines({name: value for name, value in given.items() if name.lower() not in self._names}).encode()

    def url(self, asked: Asked) -> str:
        """All of the URL, as it is sent."""
        return f"{self.origin.url}{self._target(asked)}"

    def _target(self, asked: Asked) -> str:
        return f"{self.origin.path}/{self._locate(asked.path, asked.model)}"

    def _head(self, asked: Asked) -> bytes:
        wanted = {"Host": self.origin.host_header, "Accept": asked.accept}
        # A compressor in between would hold events back until it has a block full.
        wanted["Accept-Encoding"] = "identity"
        if asked.content_type:
            wanted["Content-Type"] = asked.content_type
        return f"{first_line(asked.method, self._target(asked))}{lines(merged(wanted, self._fixed))}".encode()
