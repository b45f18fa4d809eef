"""What contributors are told is what they find."""

import re

from tests.docs.pages import PAGES, ROOT, code_words, fences
from tests.repo import test_budgets as budgets

CONTRIBUTING = ROOT / "CONTRIBUTING.md"


def test_every_make_command_in_the_documents_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [text for page in PAGES for text in (*code_words(page), *(fence.text for fence in fences(page)))]
    commands = [words for text in texts for words in re.findall(r"^make((?: [a-z-]+)*)(?: [A-Z]+=.*)?$", text, re.MULTILINE)]

    assert len(commands) > 8
    assert {target for words in commands for target in words.split()} - targets == set()


def test_the_budgets_are_those_that_are_kept() -> None:
    rows = dict(re.findall(r"^\| ([A-Z][a-z ]+) \| (\d+)", CONTRIBUTING.read_text(encoding="utf-8"), re.MULTILINE))

    assert {what: int(most) for what, most in rows.items()} == {
        "A module": budgets.MODULE_LINES,
        "A test module": budgets.TEST_MODULE_LINES,
        "A proto file": budgets.PROTO_LINES,
        "A function": budgets.FUNCTION_LINES,
        "Positional parameters": budgets.POSITIONAL_PARAMETERS,
    }
