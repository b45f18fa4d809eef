"""In which order the targets of a call are asked."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from trivet.model_service.domain.routing import Route, RouteTarget, Sticky
from trivet.model_service.domain.routing_health import Health

EQUAL: Final = 1.2
"""Targets that take at most so many times as long as the fastest one are as fast."""

Draw = Callable[[RouteTarget], float]
"""A number from 0 to 1 for a target: by chance, or always the same."""


def ordered(route: Route, health: Health, now: float, draw: Draw) -> Sequence[RouteTarget]:
    """The targets of a call, the one to be asked first at the head, those to fall back to behind it.

    Those that are too slow for what is agreed come after all others, and those whose circuit is open come last; among
    themselves each of these groups is in the order of the strategy.
    """
    if len(route.targets) == 1:
        return route.targets
    groups: tuple[list[RouteTarget], ...] = ([], [], [])
    for target in route.targets:
        groups[_rank(target, health, now)].append(target)
    first, *rest = [target for group in groups for target in _by_strategy(route, group, health, now, draw)]
    return [first, *(target for target in rest if target.fallback_candidate)]


def sticky_draw(sticky: Sticky, value: str, unix_time: float) -> Draw:
    """Draws that depend on nothing but the value of the header, the target and the time: every process draws the same.

    This is rendezvous hashing: a target that goes away moves only those calls that were its own. The times at which choices
    are made anew differ from value to value, so that not all callers move at once.
    """
    period = 0 if sticky.ttl is None else math.floor(unix_time / sticky.ttl + _hashed(value))
    return lambda target: _hashed(f"{period}\0{target.name}\0{value}")


def _rank(target: RouteTarget, health: Health, now: float) -> int:
    known = health.of(target.name)
    if known.is_open(now):
        return 2
    return 1 if known.breaches(target.sla, now) else 0


def _by_strategy(route: Route, targets: list[RouteTarget], health: Health, now: float, draw: Draw) -> list[RouteTarget]:
    match route.strategy:
        case "weight":
            return _by_weight(targets, draw)
        case "latency":
            return _by_latency(targets, health, now, draw)
        case "priority":
            return sorted(_by_weight(targets, draw), key=lambda target: target.priority)


def _by_weight(targets: Iterable[RouteTarget], draw: Draw) -> list[RouteTarget]:
    """The targets in a random order in which each one is first as often as its weight says, and so on among the others."""
    return sorted(targets, key=lambda target: _lot(draw(target), target.weight), reverse=True)


def _lot(drawn: float, weight: float) -> float:
    # The highest of numbers u ** (1 / weight) is each one's as often as its weight says; this is its logarithm.
    return math.log(max(drawn, 1e-300)) / weight if weight > 0 else -math.inf


def _by_latency(targets: list[RouteTarget], health: Health, now: float, draw: Draw) -> list[RouteTarget]:
    """Those of which too little is known, then those that are as fast as the fastest one, then the others, the faster first."""
    paces = {target.name: health.of(target.name).pace(now) for target in targets}
    limit = min((pace for pace in paces.values() if pace is not None), default=0.0) * EQUAL

    def slowness(target: RouteTarget) -> float:
        pace = paces[target.name]
        if pace is None:
            return -1.0
        return 0.0 if pace <= limit else pace

    return sorted(_by_weight(targets, draw), key=slowness)


def _hashed(text: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    # 53 bits are what a float can tell apart; the half keeps it off 0 and 1.
    return ((int.from_bytes(digest) >> 11) + 0.5) / 2**53
