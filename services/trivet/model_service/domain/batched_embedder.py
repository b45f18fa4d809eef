"""Embeddings of more inputs than a provider takes at once: in pieces, and judged before anyone relies on them."""

import asyncio
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from trivet.kernel.codec.packed import unpacked
from trivet.kernel.errors import ServiceError, UnsupportedParameter, UpstreamFailed
from trivet.model_service.domain.embeddings import Embedder, EmbeddingAnswer, EmbeddingRequest, Vector

_PLACE: Final = re.compile(r"input\[(\d+)\]")
_FLOAT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What a provider takes in one call, and how many calls of one request run at a time."""

    inputs: int
    tokens: int | None = None
    """Of all inputs together. None: it has no such limit."""

    parallel: int = 4


class BatchedEmbedder:
    """An `Embedder` over that of `provider`, whose limits it keeps.

    The first call that fails ends the others, and the request fails as it did.
    """

    def __init__(self, provider: str, embedder: Embedder, limits: BatchLimits) -> None:
        self._provider = provider
        self._embedder = embedder
        self._limits = limits

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        """See `Embedder.embed`."""
        pieces = list(_pieces(request.inputs, self._limits))
        if len(pieces) == 1:
            answers = [await self._piece(request, pieces[0])]
        else:
            answers = await self._all(request, pieces)
        vectors = tuple(vector for answer in answers for vector in answer.vectors)
        self._judge(vectors, request.dimensions)
        return EmbeddingAnswer(vectors, sum(answer.tokens for answer in answers))

    async def _all(self, request: EmbeddingRequest, pieces: list[slice]) -> list[EmbeddingAnswer]:
        answers: dict[int, EmbeddingAnswer] = {}
        waiting = iter(enumerate(pieces))

        async def ask() -> None:
            for place, piece in waiting:
                answers[place] = await self._piece(request, piece)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._limits.parallel, len(pieces))):
                    group.create_task(ask())
        except ExceptionGroup as failed:
            # Any of them fails the request, and the first ended the others.
            raise failed.exceptions[0] from None
        return [answers[place] for place in range(len(pieces))]

    async def _piece(self, request: EmbeddingRequest, piece: slice) -> EmbeddingAnswer:
        inputs: Any = request.inputs[piece]
        try:
            answer = await self._embedder.embed(replace(request, inputs=inputs))
        except ServiceError as error:
            error.param = _PLACE.sub(lambda found: f"input[{int(found[1]) + piece.start}]", error.param, count=1)
            raise
        if len(answer.vectors) != len(inputs):
            raise self._invalid(f"answered with {len(answer.vectors)} vectors for {len(inputs)} inputs")
        return answer

    def _judge(self, vectors: tuple[Vector, ...], dimensions: int | None) -> None:
        sizes = {len(vector) for vector in vectors}
        if len(sizes) != 1 or not (size := sizes.pop()) or size % _FLOAT_BYTES:
            raise self._invalid("answered with vectors that are empty or of different lengths")
        if dimensions is not None and size != dimensions * _FLOAT_BYTES:
            # It does not know the parameter, and took no notice of it.
            made = size // _FLOAT_BYTES
            raise UnsupportedParameter(f"This model's vectors have {made} dimensions, whatever `dimensions` says.", "dimensions")
        # What is no number makes the sum none, too; and 32-bit floats never add up to more than a 64-bit one holds.
        if not all(math.isfinite(sum(unpacked(vector))) for vector in vectors):
            raise self._invalid("answered with vectors that are not made of numbers")

    def _invalid(self, what: str) -> ServiceError:
        return UpstreamFailed(f"The provider `{self._provider}` {what}.")


def _pieces(inputs: tuple[str, ...] | tuple[tuple[int, ...], ...], limits: BatchLimits) -> Iterator[slice]:
    """The inputs that go together: as many as the limits allow, in their order; one that is too long goes alone."""
    start = tokens = 0
    for index, one in enumerate(inputs):
        # No tokenizer makes more tokens of a text than it has bytes.
        size = len(one.encode()) if isinstance(one, str) else len(one)
        too_long = limits.tokens is not None and tokens + size > limits.tokens
        if index > start and (too_long or index - start >= limits.inputs):
            yield slice(start, index)
            start, tokens = index, 0
        tokens += size
    yield slice(start, len(inputs))
