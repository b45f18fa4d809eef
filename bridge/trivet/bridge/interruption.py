"""How a request learns that the bridge has cancelled its call because it stops."""

import asyncio

from trivet.bridge.request import Request
from trivet.kernel.errors import Overloaded, ServiceError


def interruption(request: Request) -> ServiceError | None:
    """What a CancelledError in the handler of `request` is to be answered with; None if it is the client that has left."""
    task = asyncio.current_task()
    left = request.transport is None or request.transport.is_closing()
    if left or (task is not None and task.cancelling()):
        return None
    return Overloaded("The server is shutting down; try again.")
