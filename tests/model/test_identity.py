"""Ids: never twice, in the order of time, and with more chance in them than anybody can try."""

import re

import pytest

from trivet.model_service.domain import identity
from trivet.model_service.domain.identity import CountedIds, id_beside, new_id


def test_an_id_is_never_given_twice() -> None:
    made = {new_id("msg") for _ in range(10_000)}

    assert len(made) == 10_000
    assert all(re.fullmatch(r"msg_[0-9a-f]{48}", name) for name in made)


def test_what_is_made_later_has_its_place_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(1_790_000_000_000_000_000, 1_790_000_001_000_000_000, 10_000_000))
    monkeypatch.setattr(identity.time, "time_ns", lambda: next(moments))

    made = [new_id("resp") for _ in range(100)]

    assert made == sorted(made)


def test_ids_of_one_moment_have_nothing_else_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity.time, "time_ns", lambda: 1_790_000_000_000_000_000)

    made = [new_id("resp") for _ in range(1_000)]

    assert len({name[:17] for name in made}) == 1
    assert len({name[17:] for name in made}) == 1_000


def test_an_id_beside_another_is_of_its_moment_and_has_chance_of_its_own() -> None:
    other = new_id("resp")
    made = id_beside(other, "msg")

    assert re.fullmatch(r"msg_[0-9a-f]{48}", made)
    assert made[4:16] == other[5:17]
    assert made[16:] != other[17:]


def test_ids_that_are_counted_differ_from_those_of_other_processes_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity.time, "time_ns", lambda: 1_790_000_000_000_000_000)
    ours, theirs = CountedIds("call"), CountedIds("call")

    made = [ours.next() for _ in range(1_000)]

    assert made == sorted(set(made))
    assert all(re.fullmatch(r"call_[0-9a-f]{32}", name) for name in made)
    assert not {name[:29] for name in made} & {theirs.next()[:29] for _ in range(1_000)}
