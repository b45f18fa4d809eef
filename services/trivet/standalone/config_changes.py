"""What differs between two configurations, by name and never by value, and what of it only a restart puts in force."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from trivet.standalone.config import Config
from trivet.standalone.parts import Part

_RELOADED = ("auth", "providers", "mcp_servers", "mcp_limits", "security", "agent", "bridge")
"""The sections that are put in force while a process runs. Any other is read at the start, one that comes to be added too."""

_FIXED = frozenset({"bridge.max_body_bytes", "bridge.stalled_seconds"})
"""What of these sections is not."""

_USED_BY: dict[str, tuple[Part, ...]] = {
    "server.http": ("all", "bridge"),
    "server.grpc": ("all", "model", "agent", "tool"),
    "services": ("model", "agent", "bridge"),
    "store": ("all", "model"),
    "background": ("all", "model"),
    "bridge": ("all", "bridge"),
}
"""The parts that read a key or a section, where not all do."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that has another value; of a list of things with names, what became of which."""

    key: str
    of: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.key} ({', '.join(self.of)})" if self.of else self.key


def differences(before: BaseModel, after: BaseModel, section: str = "") -> Iterator[Difference]:
    """The differences between two versions of a section, in the order of its keys."""
    for field, info in type(before).model_fields.items():
        old, new = getattr(before, field), getattr(after, field)
        if old == new:
            continue
        key = f"{section}{info.alias or field}"
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from differences(old, new, f"{key}.")
        else:
            yield Difference(key, _of_named(old, new))


def restart_needed(started: Config, wanted: Config, part: Part) -> tuple[str, ...]:
    """The keys that a process which was started with one configuration needs a restart for, to go on by another."""
    keys = [difference.key for difference in differences(started, wanted)]
    return tuple(key for key in keys if not _is_reloaded(key) and part in _users(key))


def _is_reloaded(key: str) -> bool:
    return key.partition(".")[0] in _RELOADED and key not in _FIXED


def _users(key: str) -> Sequence[Part]:
    return _USED_BY.get(key) or _USED_BY.get(key.partition(".")[0]) or ("all", "model", "agent", "tool", "bridge")


def _of_named(old: object, new: object) -> tuple[str, ...]:
    before, after = _by_name(old), _by_name(new)
    gone = [f"{name} removed" for name in before if name not in after]
    come = [f"{name} added" for name in after if name not in before]
    other = [f"{name} changed" for name in after if name in before and before[name] != after[name]]
    return (*come, *gone, *other)


def _by_name(value: object) -> dict[str, object]:
    if not isinstance(value, tuple):
        return {}
    return {element.name: element for element in value if isinstance(element, BaseModel) and hasattr(element, "name")}
