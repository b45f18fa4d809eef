"""What happens in a call while it goes through its targets, and what is told of it: to its caller and to an observer."""

import json
import string
import time
import urllib.parse
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from trivet.kernel.call import Call
from trivet.kernel.rpc import Metadata
from trivet.model_service.domain.calls import Attempt, CallRecord
from trivet.model_service.domain.registry import Found
from trivet.model_service.domain.routing import RouteTarget
from trivet.model_service.domain.turn import Usage
from trivet.model_service.routing.options import NOTHING_SAID, Options

RESOLVED: Final = "x-trivet-resolved-model"
APPLIED: Final = "x-trivet-applied-configurations"
TIMING: Final = "server-timing"

_PORTABLE: Final = string.punctuation.replace("%", "")
_MOST_CHARACTERS: Final = 200
"""What a header may hold of a name that the caller made up, as it is written there."""

_MOST_TOLD: Final = 20
"""The attempts that a header has room for."""

_REMEMBERED: Final = 256
"""The targets of whose headers the beginnings are remembered."""


class CallLog:
    """One call to `model`, which belongs to `rpc`, if to any. `clock` is a steady one, in seconds.

    `found` is None until the route of the model is; `target` is the one that is asked now, None before any was.
    """

    __slots__ = (
        "_attempt_began",
        "_attempts",
        "_began",
        "_clock",
        "_first_token",
        "_is_open",
        "_model",
        "_operation",
        "_spent",
        "_stream",
        "_unix",
        "found",
        "options",
        "rpc",
        "target",
        "usage",
    )

    def __init__(self, operation: str, model: str, *, stream: bool, clock: Callable[[], float], rpc: Call | None = None) -> None:
        self._operation = operation
        self._model = model
        self._stream = stream
        self._clock = clock
        self._unix = time.time()
        self._began = self._attempt_began = clock()
        self._first_token: float | None = None
        self._attempts: list[Attempt] = []
        self._spent = 0.0
        self._is_open = False
        self.rpc = rpc
        self.options: Options = NOTHING_SAID
        self.found: Found | None = None
        self.target: RouteTarget | None = None
        self.usage: Usage | None = None

    def now(self) -> float:
        """The time."""
        return self._clock()

    def begin(self, target: RouteTarget) -> None:
        """A target is asked."""
        self.target = target
        self.usage = None
        self._attempt_began = self._clock()
        self._is_open = True

    def end(self, status: int) -> Attempt | None:
        """The attempt has ended; None where none was under way."""
        if not self._is_open or self.target is None:
            return None
        self._is_open = False
        attempt = Attempt(self.target.name, status, self._clock() - self._attempt_began)
        self._attempts.append(attempt)
        self._spent += attempt.seconds
        return attempt

    def withdraw(self) -> None:
        """Nothing was asked of the target."""
        self._is_open = False

    def reached(self) -> float:
        """The first message of the attempt reaches the caller: the seconds that it took since the attempt began."""
        now = self._clock()
        self._first_token = now - self._began
        return now - self._attempt_began

    def headers(self) -> Metadata:
        """What the caller is told when the call is answered."""
        name, route = self.target.name if self.target else "", self.found.route if self.found else None
        names = ("", "") if route is None or route.direct else (route.model, route.strategy)
        resolved, applied = _beginnings(name, *names)
        comma = ""
        for attempt in self._attempts[-_MOST_TOLD:]:
            milliseconds = int(attempt.seconds * 1000 + 0.5)
            applied += f'{comma}{{"target": {_quoted(attempt.target)}, "status": {attempt.status}, "ms": {milliseconds}}}'
            comma = ", "
        headers = (resolved, (APPLIED, f"{applied}]}}"))
        if self._stream:
            return headers
        model, routing = int(self._spent * 10_000), int((self._clock() - self._began - self._spent) * 10_000)
        return (*headers, (TIMING, f"model;dur={model // 10}.{model % 10}, routing;dur={routing // 10}.{routing % 10}"))

    def record(self, status: int) -> CallRecord:
        """The call as it has ended, with an attempt that was still under way."""
        if self._is_open:
            self.end(status)
        target, call = self.target, self.rpc
        return CallRecord(
            operation=self._operation,
            model=self._model,
            provider=target.provider if target else "",
            provider_type=self.found.providers[target.provider].type if target and self.found else "",
            upstream_model=target.model if target else "",
            attempts=tuple(self._attempts),
            started=self._unix,
            first_token_seconds=self._first_token,
            total_seconds=self._clock() - self._began,
            status=status,
            usage=self.usage,
            stream=self._stream,
            request_id=call.request_id if call else "",
            principal=(call.principal or "") if call else "",
            metadata=self.options.metadata,
        )


@lru_cache(_REMEMBERED)
def _beginnings(target: str, route: str, strategy: str) -> tuple[tuple[str, str], str]:
    """What is the same in all calls that a target answers: a header, and the beginning of another one's text."""
    told = {"route": route, "strategy": strategy} if strategy else {}
    applied = json.dumps({**told, "target": _portable(target), "attempts": []})
    return (RESOLVED, _portable(target)), applied.removesuffix("]}")


@lru_cache(_REMEMBERED)
def _quoted(name: str) -> str:
    return json.dumps(_portable(name))


def _portable(name: str) -> str:
    """A name as a header can carry it."""
    return urllib.parse.quote(name[:_MOST_CHARACTERS], safe=_PORTABLE)[:_MOST_CHARACTERS]
