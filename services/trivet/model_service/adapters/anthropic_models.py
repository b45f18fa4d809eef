"""What Claude models differ in, told by their names: how they are asked to think, and how long an answer may be."""

import re
from dataclasses import dataclass
from typing import Final, Literal

_VERSION: Final = re.compile(r"claude-(?:[a-z]+-)?v?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
"""`claude-3-5-sonnet-20241022`, `claude-opus-4-1`, `us.anthropic.claude-sonnet-4-20250514-v1:0`: a date is no version."""

_ALWAYS_THINKING: Final = ("fable", "mythos")

_NEWEST: Final = (99, 0)

_LONG_EFFORTS: Final = frozenset({"xhigh", "max"})


@dataclass(frozen=True, slots=True)
class Claude:
    """What is asked of one model in a way of its own.

    `thinking`: `adaptive` models decide how much to think and take an effort, `budget` models are told a number of tokens, the
    others do not think. `max_tokens` is asked for where the caller sets no limit.
    """

    thinking: Literal["adaptive", "budget", "none"]
    can_stop_thinking: bool
    max_tokens: int

    def limit(self, effort: str | None) -> int:
        """The most tokens of an answer, its thinking among them, where the caller does not say; only some models take such effort."""
        return max(self.max_tokens, 64_000) if self.thinking == "adaptive" and effort in _LONG_EFFORTS else self.max_tokens


def claude(model: str) -> Claude:
    """What is known of a model by its name, with or without a prefix. A model of another maker is told a budget."""
    name = model.lower()
    if "claude" not in name:
        return Claude("budget", can_stop_thinking=True, max_tokens=8192)
    found = _VERSION.search(name)
    version = (int(found[1]), int(found[2] or 0)) if found else _NEWEST
    if version >= (4, 6):
        return Claude("adaptive", not any(line in name for line in _ALWAYS_THINKING), 32_000)
    if version >= (3, 7):
        return Claude("budget", can_stop_thinking=True, max_tokens=32_000)
    return Claude("none", can_stop_thinking=True, max_tokens=8192 if version >= (3, 5) else 4096)
