"""What happens in a call while it goes through its targets, and what is told of it: to its caller and to an observer."""

import json
import string
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Final

from trivet.kernel.call import Call
from trivet.kernel.rpc import Metadata
from trivet.model_service.domain.calls import Attempt, CallRecord
from trivet.model_service.domain.routing import Route, RouteTarget
from trivet.model_service.domain.turn import Usage

RESOLVED: Final = "x-trivet-resolved-model"
APPLIED: Final = "x-trivet-applied-configurations"
TIMING: Final = "server-timing"

_PORTABLE: Final = string.punctuation.replace("%", "")
_MOST_CHARACTERS: Final = 200
"""What a header may hold of a name that the caller made up, as it is written there."""

_MOST_TOLD: Final = 20
"""The attempts that a header has room for."""


class CallLog:
    """One call to `model`. `clock` is a steady one, in seconds.

    `route` is None until it is found; `target` is the one that is asked now, None before any was.
    """

    def __init__(self, operation: str, model: str, *, stream: bool, clock: Callable[[], float]) -> None:
        self._operation = operation
        self._model = model
        self._stream = stream
        self._clock = clock
        self._unix = time.time()
        self._began = clock()
        self._attempt_began = self._began
        self._first_token: float | None = None
        self._attempts: list[Attempt] = []
        self._is_open = False
        self.route: Route | None = None
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
        self._attempts.append(Attempt(self.target.name, status, self._clock() - self._attempt_began))
        return self._attempts[-1]

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
        target = self.target.name if self.target else ""
        route = self.route
        told: dict[str, object] = {"route": route.model, "strategy": route.strategy} if route and not route.direct else {}
        told |= {"target": _portable(target), "attempts": [*map(_told, self._attempts[-_MOST_TOLD:])]}
        headers = [(RESOLVED, _portable(target)), (APPLIED, json.dumps(told))]
        if not self._stream:
            spent = sum(attempt.seconds for attempt in self._attempts)
            waited = max(0.0, self._clock() - self._began - spent)
            headers.append((TIMING, f"model;dur={spent * 1000:.1f}, routing;dur={waited * 1000:.1f}"))
        return tuple(headers)

    def record(self, status: int, provider_type: str, call: Call | None, metadata: Mapping[str, str]) -> CallRecord:
        """The call as it has ended."""
        target = self.target
        return CallRecord(
            operation=self._operation,
            model=self._model,
            provider=target.provider if target else "",
            provider_type=provider_type,
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
            metadata=metadata,
        )


def _told(attempt: Attempt) -> dict[str, object]:
    return {"target": _portable(attempt.target), "status": attempt.status, "ms": round(attempt.seconds * 1000)}


def _portable(name: str) -> str:
    """A name as a header can carry it."""
    return urllib.parse.quote(name[:_MOST_CHARACTERS], safe=_PORTABLE)[:_MOST_CHARACTERS]
