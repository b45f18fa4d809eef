"""Time on the processor instead of the clock's: what else the machine does is not counted."""

import time
from collections.abc import Callable
from typing import Any

import pyperf


def bench(runner: pyperf.Runner, name: str, function: Callable[..., Any], *args: Any, each: int = 1) -> None:
    """Benchmark a function; `each` is how many of what the name says it does in one call."""

    def cpu_seconds(loops: int) -> float:
        repeated = range(loops)
        began = time.process_time()
        for _ in repeated:
            function(*args)
        return time.process_time() - began

    runner.bench_time_func(name, cpu_seconds, inner_loops=each)
