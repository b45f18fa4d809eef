"""Work that goes on after the RPC that asked for it: in whose name it calls other services, and until when."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import orjson

from trivet.kernel.call import REQUEST_ID, Call, current_call, outgoing
from trivet.kernel.rpc import Context, Metadata


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked for work: `metadata` is what its calls hand on, the caller's key among it."""

    principal: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def current(cls) -> "Caller":
        """Who makes the running RPC; nobody outside of one."""
        call = current_call.get()
        _, travelling = outgoing(None, None)
        return cls(
            (call.principal if call else None) or "", {name: value for name, value in travelling if isinstance(value, str)}
        )

    def pack(self) -> bytes:
        """The caller as one line of bytes, with its key: to be kept sealed."""
        return orjson.dumps({"principal": self.principal, "metadata": dict(self.metadata)})

    @classmethod
    def unpack(cls, packed: bytes) -> "Caller":
        """What was packed."""
        return cls(**orjson.loads(packed))

    @contextmanager
    def goes_on(self, seconds: float) -> Iterator[None]:
        """For the block, calls to other services are made in the caller's name, and none beyond `seconds` from now."""
        call = Call("", None, cast("Context", _NoRpc(tuple(self.metadata.items()))))
        call.principal = self.principal
        call.request_id = self.metadata.get(REQUEST_ID, "")
        call.deadline = asyncio.get_running_loop().time() + seconds
        token = current_call.set(call)
        try:
            yield
        finally:
            current_call.reset(token)
            call.end()


class _NoRpc:
    """In the place of the context of an RPC that has ended long since."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def done(self) -> bool:
        return True
