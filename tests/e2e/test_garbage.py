"""What calls leave behind when they have ended."""

import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.bodies import PATHS, body
from tests.e2e.runs import DONE
from tests.e2e.shapes import Shape

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is collected meanwhile, and what would have been is kept to be looked at."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("face", ["chat", "responses"])
async def test_a_plain_call_leaves_nothing_that_only_the_garbage_collector_finds(one: Shape, face: str) -> None:
    """A circle of references would hold a request of megabytes, with all its images, for as long as the collector rests."""
    asked = body(face, "lab/m", streamed=False) | ({"store": False} if face == "responses" else {})
    for _ in range(3):
        one.upstream.play(DONE.script("lab", streamed=False))
        assert (await one.post(PATHS[face], asked))[0] == 200
    gc.collect()

    left = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    assert [name for name in left if name.startswith("trivet.")] == []
