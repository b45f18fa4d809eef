"""Running a handler in the task of its caller."""

from collections.abc import Generator
from contextvars import Context
from typing import Any


def driven(handler: Any, variables: Context) -> Generator[Any, Any, Any]:
    """Run a handler, a coroutine, to its end in the task of whoever goes through this, as a part of what that awaits; what it returns.

    That spares a task, and two turns of the loop. The handler sees these context variables, its caller its own.
    """
    enter, step, given = variables.run, handler.send, None
    try:
        while True:
            awaited = enter(step, given)
            try:
                step, given = handler.send, (yield awaited)
            except BaseException as thrown:  # noqa: BLE001 - whatever it is, it is the handler's
                step, given = handler.throw, thrown
    except StopIteration as end:
        return end.value
