"""The names under which tools are offered."""

from hypothesis import given
from hypothesis import strategies as st

from trivet.kernel.tools.names import LEGAL, ToolKey, wire_names


def keys(*pairs: tuple[str, str]) -> list[ToolKey]:
    return [ToolKey(index, server, tool) for index, (server, tool) in enumerate(pairs)]


def test_a_legal_name_is_kept() -> None:
    assert list(wire_names(keys(("clock", "get-current_time2")))) == ["get-current_time2"]


def test_a_name_that_clashes_gets_its_server_in_front() -> None:
    assert list(wire_names(keys(("first", "add"), ("second", "add")))) == ["add", "second_add"]


def test_a_name_that_clashes_still_is_numbered() -> None:
    assert list(wire_names(keys(("s", "add"), ("s", "add"), ("s", "add")))) == ["add", "s_add", "s_add_2"]


def test_an_illegal_name_is_made_legal() -> None:
    assert list(wire_names(keys(("disk", "files/read.v2")))) == ["files_read_v2"]


def test_a_name_of_nothing_legal_gets_one() -> None:
    assert list(wire_names(keys(("disk", "時間"), ("disk", "")))) == ["_", "tool"]


def test_long_names_that_begin_alike_stay_apart_and_stable() -> None:
    long = [("s", "x" * 80 + end) for end in "ab"]

    names = list(wire_names(keys(*long)))

    assert len(set(names)) == 2
    assert [len(name) for name in names] == [64, 64]
    assert names[1:] == list(wire_names(keys(long[1])))


@given(st.lists(st.tuples(st.text(max_size=80), st.text(max_size=80)), max_size=30))
def test_names_are_always_legal_and_unique_and_lead_back(pairs: list[tuple[str, str]]) -> None:
    given_keys = keys(*pairs)

    named = wire_names(given_keys)

    assert given_keys == list(named.values())
    assert all(LEGAL.match(name) for name in named)
