"""How targets have done lately: whether they fail, and how fast they are."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trivet.model_service.domain.routing import TIMED_OUT, Sla

FAILURES: Final = 2
FAILURE_SECONDS: Final = 120.0
"""So many failures within so many seconds open the circuit of a target."""

PACE_CALLS: Final = 100
PACE_SECONDS: Final = 1200.0
"""What is remembered of how fast a target is: its last calls, none older than this."""

LEAST_SAMPLES: Final = 3
"""With fewer calls than these nothing is said of how fast a target is."""

SLA_SECONDS: Final = 180.0
"""The calls that are judged by what is agreed about a target are no older than this."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A call that went well: when it ended, its seconds to the first token (None: not streamed) and per output token."""

    ended: float
    first_token: float | None
    per_output_token: float


class TargetHealth:
    """What is remembered of one target: at most `FAILURES` times and `PACE_CALLS` samples. Times are of one steady clock."""

    def __init__(self) -> None:
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._samples: deque[Sample] = deque(maxlen=PACE_CALLS)

    def failed(self, now: float) -> None:
        """It has failed."""
        self._failures.append(now)

    def served(self, sample: Sample) -> None:
        """It has answered."""
        self._samples.append(sample)

    def is_open(self, now: float) -> bool:
        """Whether its circuit is open: it failed too often of late. Time alone closes it again."""
        return len(self._failures) == FAILURES and now - self._failures[0] <= FAILURE_SECONDS

    def pace(self, now: float) -> float | None:
        """Its seconds per output token on average; None while too few calls tell."""
        return _mean(sample.per_output_token for sample in self._samples if now - sample.ended <= PACE_SECONDS)

    def breaches(self, sla: Sla, now: float) -> bool:
        """Whether it is slower of late than is agreed."""
        recent = [sample for sample in self._samples if now - sample.ended <= SLA_SECONDS]
        first = _mean(sample.first_token for sample in recent if sample.first_token is not None)
        each = _mean(sample.per_output_token for sample in recent)
        return _above(first, sla.first_token) or _above(each, sla.per_output_token)


class Health:
    """What is remembered of targets, by their names, in this process alone.

    Bounded by the number of targets: of others than those that it was told of, nothing is remembered.
    """

    def __init__(self, targets: Iterable[str] = ()) -> None:
        self.targets: dict[str, TargetHealth] = {}
        """What is remembered, by the name of the target."""
        self._unknown = TargetHealth()
        self.keep(targets)

    def keep(self, targets: Iterable[str]) -> None:
        """Remember these targets from now on: what is known of those that are new is nothing, others are forgotten."""
        self.targets = {name: self.targets.get(name) or TargetHealth() for name in targets}

    def of(self, target: str) -> TargetHealth:
        """What is remembered of a target."""
        return self.targets.get(target, self._unknown)

    def failed(self, target: str, status: int, now: float) -> None:
        """A target has ended an attempt with this status; not all of them are a fault of its own."""
        if target in self.targets and is_failure(status):
            self.targets[target].failed(now)

    def served(self, target: str, sample: Sample) -> None:
        """A target has answered."""
        if target in self.targets:
            self.targets[target].served(sample)


def is_failure(status: int) -> bool:
    """Whether a status says something about the target, and not about the request."""
    return status >= 500 or status in {401, 403, TIMED_OUT, 429}


def per_output_token(total: float, first_token: float | None, output_tokens: int) -> float:
    """The seconds per output token of a call.

    Of a stream, the first token and the wait for it are left out. A call that tells no tokens counts as one.
    """
    if first_token is not None and output_tokens > 1:
        return (total - first_token) / (output_tokens - 1)
    return total / max(1, output_tokens)


def _mean(values: Iterable[float]) -> float | None:
    given = list(values)
    return sum(given) / len(given) if len(given) >= LEAST_SAMPLES else None


def _above(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit
