"""Records are stored behind the calls: in batches, each once, and what cannot be stored is counted and harms nobody."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from tests.model.usage.calls import call
from trivet.kernel.errors import Overloaded
from trivet.model_service.adapters.public_prices import PublicPrices
from trivet.model_service.adapters.store.sql_store import SqlStore, open_store
from trivet.model_service.domain.turn import Usage
from trivet.model_service.domain.usage import UsageFilter, UsageQuery, UsageRecord
from trivet.model_service.settings import ProviderSettings, StoreSettings
from trivet.model_service.usage.price_book import PriceBook
from trivet.model_service.usage.recording import UsageRecorder

LAB = ProviderSettings.model_validate(
    {
        "name": "lab",
        "type": "openai-chat",
        "base_url": "http://lab:1/v1",
        "models": [{"name": "m", "price": {"input_per_million": "0.001", "output_per_million": 0}}],
    }
)


class UnsteadyUsage:
    """A store of usage that is away, or broken, as long as `fault` says so; `batches` are the sizes of what it was given."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.fault: Exception | None = None
        self.batches: list[int] = []

    async def add_usage(self, records: Sequence[UsageRecord]) -> None:
        self.batches.append(len(records))
        if self.fault is not None:
            raise self.fault
        await self.store.add_usage(records)


@pytest.fixture
async def unsteady(tmp_path: Path) -> AsyncIterator[UnsteadyUsage]:
    async with open_store(StoreSettings.model_validate({"url": f"sqlite:///{tmp_path}/t.db"})) as store:
        yield UnsteadyUsage(store)


def recorder_of(unsteady: UnsteadyUsage, most: int = 100_000) -> UsageRecorder:
    return UsageRecorder(unsteady, PriceBook([LAB], PublicPrices()), most)  # type: ignore[arg-type]


async def kept(unsteady: UnsteadyUsage) -> int:
    return (await unsteady.store.usage(UsageQuery())).totals.calls


def lost(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "trivet.usage"]


async def test_a_burst_is_stored_whole_in_few_transactions(unsteady: UnsteadyUsage) -> None:
    recorder = recorder_of(unsteady)
    for _ in range(2048):
        recorder.finished(call(usage=Usage(1, 0, 1)))

    await recorder.flush()

    totals = (await unsteady.store.usage(UsageQuery())).totals
    assert (totals.calls, totals.cost) == (2048, Decimal("0.000002048"))
    assert unsteady.batches == [512] * 4
    await recorder.aclose()


async def test_what_waits_is_stored_by_itself(unsteady: UnsteadyUsage) -> None:
    recorder = recorder_of(unsteady)
    recorder.finished(call())
    async with asyncio.timeout(30):
        while not await kept(unsteady):
            await asyncio.sleep(0)
    await recorder.aclose()


async def test_what_waits_when_the_process_stops_is_stored(unsteady: UnsteadyUsage, caplog: pytest.LogCaptureFixture) -> None:
    recorder = recorder_of(unsteady)
    for _ in range(3):
        recorder.finished(call())

    await recorder.aclose()

    assert await kept(unsteady) == 3
    assert lost(caplog) == []


async def test_while_the_store_is_away_records_wait_and_none_is_stored_twice(unsteady: UnsteadyUsage) -> None:
    recorder = recorder_of(unsteady)
    unsteady.fault = Overloaded("away")
    recorder.finished(call())
    await recorder.flush()
    recorder.finished(call())
    await recorder.flush()
    assert len(unsteady.batches) >= 2

    unsteady.fault = None
    async with asyncio.timeout(30):
        while await kept(unsteady) < 2:
            await recorder.flush()

    assert await kept(unsteady) == 2
    await recorder.aclose()


async def test_more_than_may_wait_is_lost_and_told_once_and_counted(
    unsteady: UnsteadyUsage, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = recorder_of(unsteady, most=10)
    unsteady.fault = Overloaded("away")
    for _ in range(25):
        recorder.finished(call())
    await recorder.flush()

    unsteady.fault = None
    await recorder.aclose()

    assert await kept(unsteady) == 10
    assert lost(caplog) == [
        "usage records are being lost: the store does not take them, and no more can wait",
        "15 usage records were lost",
    ]


async def test_what_a_store_that_stays_away_never_took_is_counted_at_the_end(
    unsteady: UnsteadyUsage, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = recorder_of(unsteady)
    unsteady.fault = Overloaded("away")
    recorder.finished(call())
    recorder.finished(call())

    await recorder.aclose()
    recorder.finished(call())

    assert lost(caplog)[1:2] == ["2 usage records were lost"]
    assert await kept(unsteady) == 0


async def test_records_that_cannot_be_stored_do_not_stand_in_the_way(
    unsteady: UnsteadyUsage, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = recorder_of(unsteady)
    unsteady.fault = ValueError("broken")
    recorder.finished(call())
    await recorder.flush()
    unsteady.fault = None
    recorder.finished(call())
    await recorder.aclose()

    assert await kept(unsteady) == 1
    assert lost(caplog)[0] == "usage records could not be stored"
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]


async def test_what_callers_and_upstreams_make_too_large_is_cut(unsteady: UnsteadyUsage) -> None:
    recorder = recorder_of(unsteady)
    recorder.finished(call(model="lab/" + "m" * 100_000, upstream_model="m" * 100_000, usage=Usage(2**62, -5, 2**62)))
    await recorder.flush()

    (stored,) = await unsteady.store.usage_records(UsageFilter()) or ()
    assert stored.call.model == "lab/" + "m" * 252
    assert len(stored.call.upstream_model) == 256
    assert stored.call.usage == Usage(10**12, 0, 10**12)
    await recorder.aclose()
