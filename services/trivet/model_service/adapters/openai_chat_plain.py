"""A whole answer that is one text and nothing else, as most are, read without the detour over a chunk.

What has to be decoded to be judged is left to the detour: whatever is not told of here, or is of another type than here.
"""

from typing import Any, Final

from trivet.model_service.adapters.openai_chat_events import reason_of
from trivet.model_service.domain.turn import TextDelta, TurnEvent, TurnFinished, TurnStarted, Usage

Json = dict[str, Any]

_SAYING: Final = frozenset({"role", "content"})
_LISTS: Final = frozenset({"annotations", "tool_calls"})
_NO_DETAILS: Final[Json] = {}
_MOST: Final = 2**31


# What JSON is read into is of types that nothing is derived from.


def plain_events(answer: Json) -> list[TurnEvent] | None:
    """The events of an answer, repaired or not; None for one that is not plain, or has to be repaired."""
    choices = answer["choices"]
    if type(choices) is not list or len(choices) != 1 or not is_plain(choice := choices[0]):
        return None
    used = answer.get("usage")
    usage = usage_of(used) if type(used) is dict else None
    if usage is None and used is not None:
        return None
    tier = answer.get("service_tier")
    text, reason = choice["message"]["content"], choice.get("finish_reason") or ""
    finished = TurnFinished(reason_of(reason), usage, tier if type(tier) is str else "")
    return [_started(answer), TextDelta(text), finished] if text else [_started(answer), finished]


def _started(answer: Json) -> TurnStarted:
    started = TurnStarted()
    if type(name := answer.get("id")) is str:
        started.id = name
    if type(model := answer.get("model")) is str:
        started.model = model
    if type(created := answer.get("created")) is int:
        started.created = created
    if type(fingerprint := answer.get("system_fingerprint")) is str:
        started.system_fingerprint = fingerprint
    return started


def is_plain(choice: Any) -> bool:
    """Whether a choice is the first, and says a text and nothing else."""
    if type(choice) is not dict or choice.get("index") or choice.get("logprobs") is not None:
        return False
    message = choice.get("message")
    if type(message) is not dict or type(message.get("content")) is not str or type(message.get("role") or "") is not str:
        return False
    for key, value in message.items():
        if value is not None and key not in _SAYING and (value != [] or key not in _LISTS):
            return False
    return type(choice.get("finish_reason") or "") is str


def usage_of(used: Json) -> Usage | None:
    """The usage that an answer tells of; None if it tells something else."""
    given, made = used.get("prompt_tokens_details"), used.get("completion_tokens_details")
    given, made = _NO_DETAILS if given is None else given, _NO_DETAILS if made is None else made
    if type(given) is not dict or type(made) is not dict:
        return None
    counts = (
        used.get("prompt_tokens"),
        used.get("completion_tokens"),
        used.get("total_tokens"),
        given.get("cached_tokens") or used.get("prompt_cache_hit_tokens"),
        given.get("cache_write_tokens"),
        made.get("reasoning_tokens"),
    )
    for count in counts:
        if count is not None and (type(count) is not int or not 0 <= count < _MOST):
            return None
    read, written, total, cached, saved, reasoned = counts
    read, written = read or 0, written or 0
    return Usage(read, written, total or read + written, cached or 0, saved or 0, reasoned or 0)
