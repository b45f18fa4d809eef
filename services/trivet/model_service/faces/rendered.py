"""Whole answers as JSON, for callers that take that in place of a message."""

from dataclasses import dataclass

from trivet.kernel.codec.rendered import Rendered
from trivet.model_service.domain.turn import Usage


@dataclass(slots=True)
class RenderedAnswer(Rendered):
    """A model's whole answer; `usage` is what it tells of that, None where it is nothing."""

    usage: Usage | None


def told_usage(usage: Usage | None) -> Usage | None:
    """The usage that an answer tells of: None where all is nought, which is what faces show to who asked for what nobody told."""
    return usage if usage is not None and usage.total_tokens else None
