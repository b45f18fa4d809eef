"""What is asked next in a call when a target has failed, and what its caller is told when nothing is left to ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trivet.kernel.errors import Overloaded, RateLimited, ServiceError, UnsupportedParameter
from trivet.model_service.domain.routing import Retry, RouteTarget


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed: the HTTP status that it counts as.

    `retry_after` are the seconds after which the target wants to be asked again, None if it does not say. `refused`: the target
    cannot be asked this at all, and was not.
    """

    status: int
    retry_after: float | None = None
    refused: bool = False


class Course:
    """The attempts of one call. `target` is the one to be asked now, for the `tries`-th time.

    `asked` changes what is configured about retries, field by field, as the caller wants it. `draw` gives numbers from 0 to 1.
    """

    __slots__ = ("_asked", "_draw", "_left", "target", "tries")

    def __init__(self, targets: Sequence[RouteTarget], asked: dict[str, Any], draw: Callable[[], float]) -> None:
        self.target = targets[0]
        self.tries = 1
        self._left = targets[1:]
        self._asked = asked
        self._draw = draw

    @property
    def is_last(self) -> bool:
        """Whether nothing is left to do if this attempt fails."""
        return not self._left and self.tries >= self._retry.attempts

    def after(self, failure: Failure, remaining: float | None) -> float | None:
        """The seconds to wait before `target`, which may be the next one by then, is asked; None: the call has failed.

        Nothing is waited for that would be over only after the `remaining` seconds of the call.
        """
        wait = self._wait(failure)
        if wait is not None and (remaining is None or wait < remaining):
            self.tries += 1
            return wait
        if self._left and (failure.refused or failure.status in self.target.fallback_on):
            self.target, self._left = self._left[0], self._left[1:]
            self.tries = 1
            return 0.0
        return None

    @property
    def _retry(self) -> Retry:
        return replace(self.target.retry, **self._asked) if self._asked else self.target.retry

    def _wait(self, failure: Failure) -> float | None:
        retry = self._retry
        if failure.refused or self.tries >= retry.attempts or failure.status not in retry.on_status:
            return None
        wanted = failure.retry_after or 0.0
        return None if wanted > retry.longest else max(wanted, backoff(retry, self.tries, self._draw()))


def backoff(retry: Retry, tries: int, drawn: float) -> float:
    """The seconds to wait after so many tries: twice as long each time, less up to a half of it, so that callers spread."""
    return min(retry.longest, retry.delay * 2.0 ** (tries - 1)) * (1.0 - drawn / 2)


def most_telling(errors: Sequence[ServiceError]) -> ServiceError:
    """The error that a caller is told of all that its call has met.

    That is the limit that is over first, for then the same call may go well; else the last one that a target itself has told.
    """
    limits = [error for error in errors if isinstance(error, RateLimited | Overloaded) and error.retry_after is not None]
    if limits:
        return min(limits, key=lambda error: error.retry_after or 0.0)
    told = [error for error in errors if not isinstance(error, UnsupportedParameter)]
    return (told or errors)[-1]
