"""What changes while calls run: they go on as they began."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from trivet.kernel.auth import KeyRing
from trivet.kernel.call import Call, current_call
from trivet.kernel.detached import Caller
from trivet.kernel.errors import InvalidKey
from trivet.kernel.interceptors.authentication import Authentication
from trivet.kernel.settings import AuthSettings, KeySettings
from trivet.kernel.versions import Versions


def keys(*names: str) -> AuthSettings:
    return AuthSettings(keys=tuple(KeySettings(name=name, key=SecretStr(f"k-{name}")) for name in names))


class Context:
    """As much of an RPC's context as a call reads."""

    def __init__(self, key: str, parent: Call | None = None) -> None:
        self.parent = parent
        self._metadata = (("authorization", f"Bearer k-{key}"),)

    def invocation_metadata(self) -> Any:
        return self._metadata


def call(key: str, parent: Call | None = None, method: str = "/trivet.test.v1.Probe/Echo") -> Call:
    return Call(method, None, Context(key, parent))  # type: ignore[arg-type]


def let_in(ring: KeyRing, asked: Call) -> str | None:
    """The name of the caller."""
    Authentication(ring)(asked)
    return asked.principal


def test_a_part_of_a_running_call_is_let_in_with_its_key_though_that_is_gone() -> None:
    ring = KeyRing(keys("ann", "bob"))
    running = call("ann")
    assert let_in(ring, running) == "ann"

    ring.apply(keys("bob"))

    assert let_in(ring, call("ann", running)) == "ann"
    assert let_in(ring, call("bob", running)) == "bob"
    with pytest.raises(InvalidKey):
        let_in(ring, call("ann"))
    with pytest.raises(InvalidKey):
        let_in(ring, call("eve", running))
    running.end()
    with pytest.raises(InvalidKey):
        let_in(ring, call("ann", running))


async def test_work_in_the_background_is_judged_by_the_keys_of_now() -> None:
    ring = KeyRing(keys("bob"))
    with Caller("ann", {"authorization": "Bearer k-ann"}).goes_on(10), pytest.raises(InvalidKey):
        let_in(ring, call("ann", current_call.get()))


async def test_a_call_sees_one_version_to_its_end_and_the_next_one_the_latest() -> None:
    left: list[list[str]] = []
    versions: Versions[str] = Versions("a", lambda: left.append(versions.alive))
    with Caller().goes_on(10):
        assert versions.value == "a"
        versions.replace("b")
        versions.replace("c")
        assert (versions.value, versions.alive) == ("a", ["a", "c"])
        assert await asyncio.create_task(_value(versions)) == "a"
        with Caller().goes_on(10):
            assert versions.value == "c"

    assert (versions.value, versions.alive) == ("c", ["c"])
    assert left == [["a", "c"], ["c"]]


async def test_who_goes_on_after_its_call_sees_the_latest() -> None:
    versions = Versions("a")
    with Caller().goes_on(10):
        late = asyncio.create_task(_value(versions))
    versions.replace("b")

    assert (await late, versions.alive) == ("b", ["b"])


async def test_all_that_a_call_makes_others_do_sees_what_it_saw_first() -> None:
    versions = Versions("a")
    root = call("ann")
    part = call("ann", call("ann", root))
    token = current_call.set(part)
    assert versions.value == "a"
    current_call.reset(token)
    part.end()
    versions.replace("b")
    token = current_call.set(call("ann", root))
    assert versions.value == "a"
    current_call.reset(token)
    root.end()

    assert versions.alive == ["b"]


async def _value(versions: Versions[str]) -> str:
    return versions.value
