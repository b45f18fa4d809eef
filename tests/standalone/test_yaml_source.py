"""YAML with positions and environment variables."""

from itertools import pairwise

import pytest

from trivet.standalone.yaml_source import Position, read_yaml


def read(text: str, **environ: str) -> object:
    document = read_yaml(text, environ)

    assert document.problems == []
    return document.data


def complaint(text: str, **environ: str) -> str:
    (problem,) = read_yaml(text, environ).problems
    return f"{problem.position.line}:{problem.position.column}: {problem.message}"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("on", "on"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("0x10", "0x10"),
        ("2026-01-01", "2026-01-01"),
        ("127.0.0.1:80", "127.0.0.1:80"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(written: str, meant: object) -> None:
    assert read(f"key: {written}") == {"key": meant}


def test_an_empty_file_is_nothing() -> None:
    assert read("") is None
    assert read("# only a comment\n") is None


def test_a_variable_is_filled_in_anywhere_in_a_scalar() -> None:
    assert read("url: http://${HOST}:${PORT}/v1", HOST="h", PORT="80") == {"url": "http://h:80/v1"}
    assert read("list: ['${A}', x]", A="a") == {"list": ["a", "x"]}


def test_a_default_stands_in_for_an_unset_or_empty_variable() -> None:
    assert read("k: '${A:-none}'") == {"k": "none"}
    assert read("k: '${A:-none}'", A="") == {"k": "none"}
    assert read("k: '${A:-none}'", A="a") == {"k": "a"}
    assert read("k: 'x${A:-}y'") == {"k": "xy"}


def test_a_set_but_empty_variable_is_empty_text() -> None:
    assert read("k: '${A}'", A="") == {"k": ""}


def test_what_a_variable_holds_is_text_and_never_yaml_nor_another_variable() -> None:
    assert read("k: ${A}", A="[1, {b: c}]\nx: y") == {"k": "[1, {b: c}]\nx: y"}
    assert read("k: ${A}", A="5") == {"k": "5"}
    assert read("k: ${A}", A="${B}", B="b") == {"k": "${B}"}


def test_a_doubled_dollar_escapes_a_variable() -> None:
    assert read("k: 'a $${HOME} $5 $$ $HOME'") == {"k": "a ${HOME} $5 $$ $HOME"}


def test_a_missing_variable_is_named_with_its_line() -> None:
    assert complaint("a: 1\nkey: '${GONE}'\n") == (
        "2:1: the environment variable `GONE` is not set: set it, or write ${GONE:-default}"
    )


@pytest.mark.parametrize("broken", ["${", "${A", "${}", "${a b}", "${A:x}", "${1}"])
def test_a_broken_reference_is_a_problem(broken: str) -> None:
    assert "1:1: `${` opens a variable" in complaint(f"k: '{broken}'", A="a")


def test_a_duplicate_key_is_a_problem_at_its_second_place() -> None:
    assert complaint("a: 1\nb: 2\na: 3\n") == "3:1: duplicate key `a`: it stands in line 1 already"


def test_all_problems_are_found_at_once() -> None:
    problems = read_yaml("a: ${X}\nb: ${Y}\na: 1\n", {}).problems

    assert [problem.position.line for problem in problems] == [1, 2, 3]


def test_broken_yaml_is_one_problem_with_its_place() -> None:
    assert complaint("a: [1\nb: 2\n").startswith("2:2: not YAML: ")
    assert complaint("a: \x01").startswith("1:1: not YAML: ")
    assert complaint("a: 1\n---\nb: 2\n").startswith("2:1: not YAML: ")


def test_tags_and_keys_that_are_no_text_are_problems() -> None:
    assert complaint("a: !!python/name:os.system x").startswith("1:1: the tag ")
    assert complaint("? [a, b]\n: 1") == "1:3: a key must be plain text"


def test_an_alias_repeats_a_value_but_never_contains_itself() -> None:
    assert read("a: &x [1]\nb: *x") == {"a": [1], "b": [1]}
    assert complaint("a: &x [*x]") == "1:4: an alias must not stand inside what it names"


def test_what_is_endlessly_deep_or_repeats_itself_without_end_is_one_problem() -> None:
    repeating = "".join(f"{name}: &{name} [{', '.join([f'*{inner}'] * 10)}]\n" for inner, name in pairwise("abcdefghijklmnop"))

    assert complaint("a: " + "[" * 5000 + "]" * 5000) == "1:1: nested too deep"
    assert complaint("a: &a [1]\n" + repeating).startswith("1:1: more than 100000 values")


def test_positions_are_found_or_those_of_what_surrounds_them() -> None:
    document = read_yaml("a:\n  - {b: 1}\n", {})

    assert document.position(("a", 0, "b")) == Position(2, 6)
    assert document.position(("a", 0, "missing")) == Position(2, 5)
    assert document.position(("nowhere",)) == Position(1, 1)
