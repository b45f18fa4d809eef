"""A whole answer that is one text and nothing else, as most are, read without the detour over a chunk.

What has to be decoded to be judged is left to the detour: whatever is not told of here, or is of another type than here.
"""

from typing import Any, Final

from trivet.model_service.adapters.openai_chat_events import reason_of
from trivet.model_service.domain.turn import TextDelta, TurnEvent, TurnFinished, TurnStarted, Usage

Json = dict[str, Any]

_SAYING: Final = frozenset({"role", "content"})
_HEAD: Final = (("id", str), ("model", str), ("created", int), ("system_fingerprint", str))
_LISTS: Final = frozenset({"annotations", "tool_calls"})
_NO_DETAILS: Final[Json] = {}
_NUMBERS: Final = {int}
_MOST: Final = 2**31


def plain_events(answer: Json) -> list[TurnEvent] | None:
    """The events of a repaired answer; None for one that is not plain."""
    choices = answer["choices"]
    if not isinstance(choices, list) or len(choices) != 1 or not _is_plain(choices[0]):
        return None
    used = answer.get("usage")
    usage = _usage(used) if isinstance(used, dict) else None
    if usage is None and used is not None:
        return None
    started = TurnStarted()
    for key, kind in _HEAD:
        if isinstance(value := answer.get(key), kind):
            setattr(started, key, value)
    tier = answer.get("service_tier")
    text, reason = choices[0]["message"]["content"], choices[0].get("finish_reason") or ""
    finished = TurnFinished(reason_of(reason), usage, tier if isinstance(tier, str) else "")
    return [started, TextDelta(text), finished] if text else [started, finished]


def _is_plain(choice: Any) -> bool:
    if not isinstance(choice, dict) or choice["index"] != 0 or choice.get("logprobs") is not None:
        return False
    message = choice.get("message")
    if not isinstance(message, dict) or type(message.get("content")) is not str or type(message["role"]) is not str:
        return False
    for key, value in message.items():
        if value is not None and key not in _SAYING and (value != [] or key not in _LISTS):
            return False
    return isinstance(choice.get("finish_reason") or "", str)


def _usage(used: Json) -> Usage | None:
    given, made = used.get("prompt_tokens_details"), used.get("completion_tokens_details")
    given, made = _NO_DETAILS if given is None else given, _NO_DETAILS if made is None else made
    if not (isinstance(given, dict) and isinstance(made, dict)):
        return None
    counts = (
        used.get("prompt_tokens") or 0,
        used.get("completion_tokens") or 0,
        used.get("total_tokens") or 0,
        given.get("cached_tokens") or used.get("prompt_cache_hit_tokens") or 0,
        given.get("cache_write_tokens") or 0,
        made.get("reasoning_tokens") or 0,
    )
    if set(map(type, counts)) != _NUMBERS or min(counts) < 0 or max(counts) >= _MOST:
        return None
    read, written, total, *details = counts
    return Usage(read, written, total or read + written, *details)
