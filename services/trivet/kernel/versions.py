"""A value that is replaced while calls run: each of them goes on with the one that it began with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from trivet.kernel.call import Call, current_call

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Version(Generic[T]):
    value: T
    calls: int = 0


class Versions(Generic[T]):
    """The versions of a value that somebody may still use, the latest among them.

    A call sees the version that was the latest when it first looked, to its end; so do the calls that it makes in this process,
    because they are a part of it. Nothing is to be released: that is done when the call ends. Outside of a call the latest is
    seen. `left` is called whenever a version is no longer used by any call, nor the latest.
    """

    def __init__(self, first: T, left: Callable[[], None] = lambda: None) -> None:
        self._latest = _Version(first)
        self._held: dict[Call, _Version[T]] = {}
        self._alive = [self._latest]
        self._left = left

    @property
    def alive(self) -> list[T]:
        """The values that are in use, oldest first."""
        return [version.value for version in self._alive]

    @property
    def value(self) -> T:
        """The value for the running call."""
        call = current_call.get()
        if call is None:
            return self._latest.value
        # Of all that were made for each other in this process, the first.
        root = call
        while root.parent is not None:
            root = root.parent
        version = self._held.get(root)
        if version is None:
            version = self._latest
            if not root.ended:
                self._held[root] = version
                version.calls += 1
                root.endings.append(partial(self._release, root))
        return version.value

    def replace(self, value: T) -> None:
        """Let calls that begin from now on see another value."""
        before, self._latest = self._latest, _Version(value)
        self._alive.append(self._latest)
        self._end_if_left(before)

    def _release(self, root: Call) -> None:
        version = self._held.pop(root)
        version.calls -= 1
        if version is not self._latest:
            self._end_if_left(version)

    def _end_if_left(self, version: _Version[T]) -> None:
        if not version.calls and version is not self._latest:
            self._alive.remove(version)
            self._left()
