"""Models that are configured here: under a name of their own, with the targets that serve them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from trivet.model_service.domain import routing
from trivet.model_service.domain.routing import FALLEN_BACK_ON, RETRIED, Route, RouteTarget

_DECIDED = ("model", "stream", "messages", "input")


def _sticky_header(name: str) -> str:
    if name.lower() in ("authorization", "cookie", "proxy-authorization"):
        raise ValueError("what opens a door does not choose a target: take a header that says who or what a call is for")
    return name.lower()


def _overridable(params: dict[str, Any]) -> dict[str, Any]:
    if decided := [name for name in _DECIDED if name in params]:
        raise ValueError(f"`{decided[0]}` cannot be overridden: it is what the call is about")
    return params


HttpStatus = Annotated[int, Field(ge=400, le=599)]
Milliseconds = Annotated[int, Field(ge=1, le=86_400_000)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class RetrySettings(_Section):
    """When the same target is asked again."""

    attempts: int = Field(default=2, ge=1, le=10)
    """How often it is asked at most in one call, the first time included."""

    delay_ms: int = Field(default=100, ge=0, le=60_000)
    """The wait before the second attempt, less up to a half of it by chance; twice as long before each further one."""

    max_delay_ms: int = Field(default=5000, ge=0, le=600_000)
    """The longest wait. A target whose `Retry-After` is beyond is not waited for."""

    on_status: tuple[HttpStatus, ...] = tuple(sorted(RETRIED))
    """After which statuses. An answer that is none counts as 502, no connection as 503, a time that is over as 408."""


class SlaSettings(_Section):
    """How fast a target has to be: one that was slower in the last three minutes is asked after all others."""

    time_to_first_token_ms: Milliseconds | None = None
    """To the first token of a stream, on average over at least 3 calls."""

    time_per_output_token_ms: Milliseconds | None = None
    """For each token, likewise."""


class TargetTimeoutSettings(_Section):
    """How long one attempt may take; then the target has failed with the status 408."""

    connect_ms: Milliseconds | None = None
    """To open a connection. Absent: `connect_seconds` of the provider."""

    first_token_ms: Milliseconds | None = None
    """Until a stream says something. Absent: `read_seconds` of the provider."""

    total_ms: Milliseconds | None = None
    """The whole attempt. Absent: `total_seconds` of the provider."""


class TargetSettings(_Section):
    """A model at a provider that may serve calls."""

    model: str = Field(pattern=r"^[^/]+/.+$")
    """`<provider>/<upstream model>`, as a caller could ask for it."""

    priority: int = Field(default=0, ge=0)
    """With the strategy `priority` the lowest number goes first; equal ones share by `weight`."""

    weight: float = Field(default=1, ge=0)
    """Its share among those that may go first. 0: only when all others have failed."""

    override_params: Annotated[dict[str, Any], AfterValidator(_overridable)] = {}
    """Parameters of the request that have these values here, and none where null, by their names in the API that is called."""

    retry: RetrySettings = RetrySettings()

    fallback_on: tuple[HttpStatus, ...] = tuple(sorted(FALLEN_BACK_ON))
    """After which statuses the next target is asked."""

    fallback_candidate: bool = True
    """Whether it is asked when another one has failed."""

    sla: SlaSettings = SlaSettings()

    timeouts: TargetTimeoutSettings = TargetTimeoutSettings()

    def target(self) -> RouteTarget:
        """The target as the router knows it."""
        provider, _, model = self.model.partition("/")
        retry, sla, timeouts = self.retry, self.sla, self.timeouts
        return RouteTarget(
            provider,
            model,
            priority=self.priority,
            weight=self.weight,
            override_params=self.override_params,
            retry=routing.Retry(retry.attempts, retry.delay_ms / 1000, retry.max_delay_ms / 1000, frozenset(retry.on_status)),
            fallback_on=frozenset(self.fallback_on),
            sla=routing.Sla(_seconds(sla.time_to_first_token_ms), _seconds(sla.time_per_output_token_ms)),
            timeouts=routing.Timeouts(
                _seconds(timeouts.connect_ms), _seconds(timeouts.first_token_ms), _seconds(timeouts.total_ms)
            ),
            fallback_candidate=self.fallback_candidate,
        )


class StickySettings(_Section):
    """Calls that have the same value of a header go to the same target, as long as it is well."""

    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$", max_length=64), AfterValidator(_sticky_header)]
    """The name of the header, such as `x-user-id`. Calls without it are not sticky."""

    ttl_seconds: float | None = Field(default=None, gt=0)
    """How long a choice holds. Absent: as long as the targets stay the same."""


class RouteSettings(_Section):
    """How the targets of a model are chosen."""

    strategy: Literal["weight", "latency", "priority"] = "priority"
    """`priority`: the lowest number first. `weight`: by chance, as the weights say. `latency`: those that take the least time for a
    token of late."""

    sticky: StickySettings | None = None
    """Which calls belong together. Absent: none."""


class VirtualModelSettings(_Section):
    """A model that callers ask for by this name, whoever serves it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", max_length=128)
    """What callers ask for: `smart`. If it has a slash, what is before it is no provider's name."""

    route: RouteSettings = RouteSettings()

    targets: tuple[TargetSettings, ...] = Field(min_length=1, max_length=32)
    """What serves it. When one fails, the next one is asked."""

    def as_route(self) -> Route:
        """The route as the router knows it."""
        sticky = self.route.sticky
        return Route(
            self.name,
            tuple(target.target() for target in self.targets),
            self.route.strategy,
            routing.Sticky(sticky.header, sticky.ttl_seconds) if sticky else None,
        )


Mistake = tuple[tuple[str | int, ...], str]
"""Where something is wrong, from `models` on, and what."""


def mistakes(models: Iterable[VirtualModelSettings], providers: dict[str, tuple[str, ...] | None]) -> Iterator[Mistake]:
    """What is wrong with models over providers, which are told by name with the models that they offer (None: any)."""
    names: Counter[str] = Counter()
    for index, model in enumerate(models):
        names[model.name] += 1
        if names[model.name] == 2:
            yield ("models", index, "name"), f"two models are named `{model.name}`"
        owner, slash, _ = model.name.partition("/")
        if slash and owner in providers:
            yield ("models", index, "name"), f"`{owner}` is a provider: its models are its own"
        seen: set[str] = set()
        for position, target in enumerate(model.targets):
            where = ("models", index, "targets", position, "model")
            if wrong := _wrong_target(target.model, providers, seen):
                yield where, wrong
            seen.add(target.model)


def _wrong_target(name: str, providers: dict[str, tuple[str, ...] | None], seen: set[str]) -> str:
    provider, _, model = name.partition("/")
    if provider not in providers:
        known = ", ".join(f"`{known}`" for known in providers) or "none"
        return f"there is no provider `{provider}`: known here are {known}"
    offered = providers[provider]
    if offered is not None and model not in offered:
        return f"the provider `{provider}` does not offer `{model}`: its `models` are {', '.join(f'`{one}`' for one in offered)}"
    return f"`{name}` is a target twice" if name in seen else ""


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
