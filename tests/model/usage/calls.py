"""Calls that have ended, and their records."""

from decimal import Decimal
from typing import Any

from trivet.model_service.domain.calls import Attempt, CallRecord
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.turn import Usage
from trivet.model_service.domain.usage import UsageRecord

NOON = 1_795_953_600.0
"""2026-11-29T12:00:00Z."""


def call(**fields: Any) -> CallRecord:
    """A call that went well, with these fields."""
    usual: dict[str, Any] = {
        "operation": "chat.completions",
        "model": "lab/m",
        "provider": "lab",
        "provider_type": "openai-chat",
        "upstream_model": "m",
        "attempts": (Attempt("lab/m", 200, 0.5),),
        "started": NOON,
        "first_token_seconds": None,
        "total_seconds": 0.5,
        "status": 200,
        "usage": Usage(100, 20, 120, 40, 10, 5),
        "stream": False,
        "request_id": "req-1",
        "principal": "alice",
    }
    return CallRecord(**{**usual, **fields})


def record(cost: str | None = "0.1", **fields: Any) -> UsageRecord:
    """Its record."""
    return UsageRecord(new_id("call"), call(**fields), None if cost is None else Decimal(cost), unpriced=cost is None)
