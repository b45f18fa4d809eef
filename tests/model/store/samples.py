"""Responses and items to keep."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from trivet.model_service.domain.store import StoredConversation, StoredEvents, StoredItem, StoredResponse


def response(**fields: Any) -> StoredResponse:
    """A finished response of `me`, with these fields."""
    usual = {
        "id": f"resp_{secrets.token_hex(24)}",
        "owner": "me",
        "created_at": int(time.time()),
        "status": "completed",
        "input": b'["hello"]',
        "response": b'{"status": "completed"}',
    }
    return StoredResponse(**{**usual, **fields})


def queued(**fields: Any) -> StoredResponse:
    """A response that waits to be run in the background."""
    return response(**{"status": "queued", "background": True, "request": b"the request", **fields})


def going(**fields: Any) -> StoredResponse:
    """A response that is streamed to its caller."""
    return response(**{"status": "in_progress", "streamed": True, **fields})


def conversation(**fields: Any) -> StoredConversation:
    """A conversation of `me`."""
    usual = {"id": f"conv_{secrets.token_hex(24)}", "owner": "me", "created_at": int(time.time())}
    return StoredConversation(**{**usual, **fields})


def batches(*ranges: tuple[int, int], size: int = 0) -> Sequence[StoredEvents]:
    """Batches of events with these first and last numbers."""
    return [StoredEvents(first, last, f"{first}-{last}".encode().ljust(size)) for first, last in ranges]


def items(*names: str) -> Sequence[StoredItem]:
    """Items with these ids."""
    return [StoredItem(name, f"the item {name}".encode()) for name in names]
