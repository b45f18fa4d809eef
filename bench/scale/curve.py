"""A curve: what is measured at a few points, and how it is told."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bench.site import Neighbours

Figures = Mapping[str, float]
"""What was measured at one point, by what it is."""

Measure = Callable[[Neighbours, float], Iterator[tuple[int, Figures]]]
"""Yields the points of a curve, given how many seconds each look may take."""


@dataclass(frozen=True)
class Curve:
    """One of them."""

    name: str
    over: str
    """What grows."""
    told: str
    """What the figures are."""
    measure: Measure


def table(curve: Curve, points: Mapping[int, Figures]) -> str:
    """Markdown."""
    names = list(next(iter(points.values()), {}))
    lines = [
        f"**{curve.name}**: {curve.told}",
        "",
        f"| {curve.over} | {' | '.join(names)} |",
        f"| ---: | {' | '.join('---:' for _ in names)} |",
    ]
    lines += [f"| {x:,} | {' | '.join(f'{figures[name]:,.1f}' for name in names)} |" for x, figures in points.items()]
    return "\n".join(lines)
