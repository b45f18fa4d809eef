"""Progress that is called back, as a stream."""

from collections.abc import Callable
from contextlib import aclosing

from trivet.tool_service.domain.relayed_progress import relayed
from trivet.tool_service.domain.tools import Progress, ToolResult


async def test_a_reader_who_is_slow_loses_the_oldest_progress() -> None:
    async def call(tell: Callable[[Progress], None]) -> ToolResult:
        for number in range(1000):
            tell(Progress(number))
        return ToolResult(())

    async with aclosing(relayed(call)) as events:
        batch = await anext(events)

    assert isinstance(batch, tuple)
    assert len(batch) < 100
    assert batch[-1] == Progress(999)
