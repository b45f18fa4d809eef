"""One RPC as a server sees it, and what of it travels on with the calls that it makes."""

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc

from trivet.kernel.rpc import Context, Metadata

REQUEST_ID = "x-request-id"
AUTHORIZATION = "authorization"
_OWN_PREFIX = "x-trivet-"

# What load balancers and tools ask any gRPC server, without a key and for as long as they like.
_REFLECTION = "/grpc.reflection."
_INFRASTRUCTURE = ("/grpc.health.", _REFLECTION)


def is_infrastructure(method: str) -> bool:
    """Whether this is a health check or a reflection request."""
    return method.startswith(_INFRASTRUCTURE)


class Call:
    """A running RPC; the chain makes it, and its interceptors fill it in.

    `method` is `/package.Service/Method`; `infrastructure` says that it is a health check or a reflection request. `request` is
    the message, for a streaming request the iterator of its messages; what came as bytes is read after authentication.
    `principal` names the key that was used, None before authentication and for infrastructure; who has judged the key in this
    process hands it over with the call. `deadline` is in the loop's time, None if there is none. `parent` is the running call of
    this process that made this one, None where it came over the wire or from a face; `in_process` tells the two apart.
    `has_company` says that others ran when it began, or when the one that it is made for did.
    `ended` says that nothing runs for this call any more; until then `endings` are what is to be done when it has.

    For the chain alone: `task` is what runs the call, `timer` what cancels that at the deadline, `expired` says that it has.
    `evicted` says that the server itself cancels this call because it stops. `code` is how it ended, where its context does
    not know.
    """

    __slots__ = (
        "_announced",
        "_handed_on",
        "code",
        "context",
        "deadline",
        "ended",
        "endings",
        "evicted",
        "expired",
        "has_company",
        "in_process",
        "infrastructure",
        "metadata",
        "method",
        "parent",
        "principal",
        "request",
        "request_id",
        "task",
        "timer",
    )

    def __init__(self, method: str, request: Any, context: Context, *, infrastructure: bool = False) -> None:
        self.method = method
        self.infrastructure = infrastructure
        self.request = request
        self.context = context
        self.metadata: dict[str, str | bytes] = dict(context.invocation_metadata() or ())
        self.request_id = ""
        self.principal: str | None = getattr(context, "principal", None)
        self.deadline: float | None = None
        self.parent: Call | None = getattr(context, "parent", None)
        self.in_process: bool = getattr(context, "in_process", False)
        self.has_company = False
        self.task: asyncio.Task[Any] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.expired = False
        self.evicted = False
        self.code: grpc.StatusCode | None = None
        self.ended = False
        self.endings: list[Callable[[], None]] = []
        self._announced = False
        self._handed_on: Metadata | None = None

    @property
    def peer(self) -> str:
        """Where the call comes from, such as `ipv4:127.0.0.1:40112` or `in-process`."""
        return self.context.peer()

    @property
    def reflection(self) -> bool:
        """Whether this is a reflection request."""
        return self.method.startswith(_REFLECTION)

    def end(self) -> None:
        """Do what was to be done at the end; for whoever made this object."""
        self.task = None
        self.ended = True
        endings, self.endings = self.endings, []
        for do in endings:
            do()

    async def announce(self, metadata: Metadata) -> None:
        """Send initial metadata, if none were sent yet, no message was, and the call has not ended."""
        if self._announced or self.context.done():
            return
        self._announced = True
        try:
            await self.context.send_initial_metadata(metadata)
        except grpc.aio.UsageError:
            pass  # the call has ended meanwhile

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, never negative; None without a deadline."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    @property
    def handed_on(self) -> Metadata:
        """What the calls that are made for this one get from it: its key, its id and the `x-trivet-*` metadata."""
        if self._handed_on is None:
            handed_on: list[tuple[str, str | bytes]] = []
            for name, value in self.metadata.items():
                if value and (name == AUTHORIZATION or name.startswith(_OWN_PREFIX)):
                    handed_on.append((name, value))
            if self.request_id:
                handed_on.append((REQUEST_ID, self.request_id))
            self._handed_on = tuple(handed_on)
        return self._handed_on


Judge: TypeAlias = Callable[[Call], None]
"""Looks at a call before its handler does, and raises what refuses it."""

current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)


def outgoing(timeout: float | None, metadata: Iterable[tuple[str, str | bytes]] | None) -> tuple[float | None, Metadata]:
    """The timeout and metadata with which a call to another service of ours is made.

    Inside an RPC the caller's key, its request id, its `x-trivet-*` metadata and what is left of its deadline travel
    on, except for keys that are given explicitly. Outside one, nothing is added.
    """
    given: Metadata = tuple(metadata or ())
    call = current_call.get()
    if call is None:
        return timeout, given
    added = call.handed_on
    if given:
        names = {name for name, _ in given}
        added = tuple([pair for pair in added if pair[0] not in names])
    remaining = call.time_remaining()
    if timeout is None or (remaining is not None and remaining < timeout):
        timeout = remaining
    return timeout, given + added
