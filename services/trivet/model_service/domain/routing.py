"""What is configured about calls to a model: its targets, which of them answers, and what is done when one does not.

Times are in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Strategy = Literal["weight", "latency", "priority"]

RETRIED = frozenset({429, 500, 502, 503, 529})
"""The statuses after which the same target is asked again, where nothing else is configured."""

FALLEN_BACK_ON = frozenset({401, 403, 404, 408, 429, 500, 502, 503, 504, 529})
"""The statuses after which the next target is asked, where nothing else is configured."""

TIMED_OUT = 408
"""What a target counts as that let one of our deadlines pass, whatever its caller is told."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a target is asked at most in one call, the first time included, and how long is waited between.

    The wait grows from `delay` by two, up to `longest`. A target that says itself when to come again is waited for as long as
    it says, but never beyond `longest`.
    """

    attempts: int = 1
    delay: float = 0.1
    longest: float = 5.0
    on_status: frozenset[int] = RETRIED


@dataclass(frozen=True, slots=True)
class Sla:
    """How slow a target may be on the average of its last calls; None: as it likes."""

    first_token: float | None = None
    per_output_token: float | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one attempt may take; None: as its provider is configured."""

    connect: float | None = None
    first_token: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class RouteTarget:
    """A model at a provider, as a target of calls.

    `override_params` are parameters of the request that have other values here. One that is no `fallback_candidate` is asked
    first or not at all.
    """

    provider: str
    model: str
    priority: int = 0
    weight: float = 1.0
    override_params: Mapping[str, object] = field(default_factory=dict)
    retry: Retry = Retry()
    fallback_on: frozenset[int] = FALLEN_BACK_ON
    sla: Sla = Sla()
    timeouts: Timeouts = Timeouts()
    fallback_candidate: bool = True
    name: str = field(init=False, repr=False, compare=False)
    """`<provider>/<model>`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider}/{self.model}")


@dataclass(frozen=True, slots=True)
class Sticky:
    """Calls with the same value of a header go to the same target, chosen anew every `ttl` seconds (None: never)."""

    header: str
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The targets of a model, and how one is chosen. A `direct` one is a provider's own model: nothing was configured for it."""

    model: str
    targets: tuple[RouteTarget, ...]
    strategy: Strategy = "priority"
    sticky: Sticky | None = None
    direct: bool = False
