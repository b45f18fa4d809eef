"""Embeddings in pieces: how many at a time, and how they end together."""

import asyncio

import pytest

from trivet.kernel.codec.packed import floats
from trivet.kernel.errors import Overloaded, RateLimited, ServiceError
from trivet.model_service.domain.batched_embedder import BatchedEmbedder, BatchLimits
from trivet.model_service.domain.embeddings import EmbeddingAnswer, EmbeddingRequest

SIX = EmbeddingRequest("m", tuple("abcdef"))


class Gated:
    """An embedder whose calls wait until the test lets them go, or fails them."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.ended: list[str] = []
        self._changed = asyncio.Event()

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        (text,) = request.texts()
        gate = self.waiting[text] = asyncio.get_running_loop().create_future()
        self._changed.set()
        try:
            await gate
        finally:
            self.ended.append(text)
            del self.waiting[text]
            self._changed.set()
        return EmbeddingAnswer((floats([ord(text)]),), 1)

    async def until(self, *texts: str) -> None:
        async with asyncio.timeout(5):
            while sorted(self.waiting) != sorted(texts):
                self._changed.clear()
                await self._changed.wait()


def begun(gated: Gated, parallel: int) -> asyncio.Task[EmbeddingAnswer]:
    return asyncio.create_task(BatchedEmbedder("lab", gated, BatchLimits(1, parallel=parallel)).embed(SIX))


async def test_no_more_calls_run_at_a_time_than_are_allowed() -> None:
    gated = Gated()
    embedding = begun(gated, parallel=2)

    await gated.until("a", "b")
    gated.waiting["b"].set_result(None)
    await gated.until("a", "c")
    for text, following in zip("cdef", ["d", "e", "f", ""], strict=True):
        gated.waiting[text].set_result(None)
        await gated.until("a", *following)
    gated.waiting["a"].set_result(None)

    assert await embedding == EmbeddingAnswer(tuple(floats([ord(text)]) for text in "abcdef"), 6)


async def test_the_first_failure_ends_the_others_and_is_what_is_told() -> None:
    gated = Gated()
    embedding = begun(gated, parallel=3)
    await gated.until("a", "b", "c")

    gated.waiting["b"].set_exception(RateLimited("slow down", 7))

    with pytest.raises(RateLimited) as failed:
        await embedding
    assert failed.value.retry_after == 7
    assert sorted(gated.ended) == ["a", "b", "c"]


async def test_two_failures_at_once_are_one() -> None:
    gated = Gated()
    embedding = begun(gated, parallel=2)
    await gated.until("a", "b")

    gated.waiting["a"].set_exception(Overloaded("too much"))
    gated.waiting["b"].set_exception(RateLimited("slow down"))

    with pytest.raises(ServiceError):
        await embedding


async def test_a_caller_that_leaves_ends_all_calls() -> None:
    gated = Gated()
    embedding = begun(gated, parallel=2)
    await gated.until("a", "b")

    embedding.cancel()

    with pytest.raises(asyncio.CancelledError):
        await embedding
    assert sorted(gated.ended) == ["a", "b"]
