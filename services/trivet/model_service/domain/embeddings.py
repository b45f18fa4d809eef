"""What ModelService needs of a provider that makes vectors of texts: the port, what it is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from trivet.kernel.errors import UnsupportedParameter

Vector = bytes
"""A vector: its 32-bit floats one after the other, little-endian (`trivet.kernel.codec.packed`). An eighth of what numbers of Python
take, and copied as one."""


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """What to make vectors of. `extra`: parameters that no field stands for, each as JSON text."""

    model: str
    """Its name at the provider."""

    inputs: tuple[str, ...] | tuple[tuple[int, ...], ...]
    """Texts, or the tokens of texts; at least one, and none is empty."""

    dimensions: int | None = None
    """How long the vectors shall be. None: as the model makes them."""

    user: str = ""
    """The end user, as the caller knows them."""

    extra: Mapping[str, str] = field(default_factory=dict)

    def texts(self) -> tuple[str, ...]:
        """The inputs, for a provider that takes no tokens. Raises UnsupportedParameter when they are tokens."""
        texts = tuple(one for one in self.inputs if isinstance(one, str))
        if len(texts) < len(self.inputs):
            raise UnsupportedParameter("This model's provider takes texts, and no arrays of tokens.", "input")
        return texts


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """The vectors in the order of the inputs, and the tokens that the inputs were (0: not told)."""

    vectors: tuple[Vector, ...]
    tokens: int = 0


class Embedder(Protocol):
    """A provider's embedding models.

    An adapter asks for what it is given in one call: `BatchedEmbedder`, which goes around it, sees to the provider's limits, and
    judges the vectors: how many there are, how long, and whether they are made of numbers.
    """

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        """One vector for each input.

        Raises:
            UnsupportedParameter: the provider has no way to say what `request` asks; nothing was sent.
            UpstreamRejected, UpstreamFailed, UpstreamTimeout, RateLimited, Overloaded: as everywhere.
        """
        ...
