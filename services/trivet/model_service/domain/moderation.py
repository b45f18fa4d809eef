"""What ModelService needs of a provider that judges content: the port, what it is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ModerationRequest:
    """What to judge."""

    model: str
    """Its name at the provider."""

    input: str
    """A string, strings or parts of content, as JSON text in OpenAI's form; at least one."""

    extra: Mapping[str, str] = field(default_factory=dict)
    """Parameters that no field stands for, each as JSON text."""


@dataclass(frozen=True, slots=True)
class ModerationAnswer:
    """The judgements in the order of the inputs, each a JSON object in OpenAI's form; `id` is the provider's ("": it has none).

    `extra`: what else the provider tells, each as JSON text.
    """

    results: tuple[Mapping[str, object], ...]
    id: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


class Moderator(Protocol):
    """A provider's moderation models."""

    @property
    def default_model(self) -> str:
        """The model, by its name there, that is meant where a request names none; "" if that is not known."""
        ...

    async def moderate(self, request: ModerationRequest) -> ModerationAnswer:
        """One judgement for each string; parts are judged together.

        Raises:
            UnsupportedParameter: the provider has no moderation after all.
            UpstreamRejected, UpstreamFailed, UpstreamTimeout, RateLimited, Overloaded: as everywhere.
        """
        ...
