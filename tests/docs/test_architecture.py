"""Every path that the documents name is there."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, code_words, fences, name_of

ARCHITECTURE = ROOT / "docs/architecture.md"
ROOTS = (
    "protos/",
    "gen/",
    "services/",
    "bridge/",
    "tests/",
    "tools/",
    "bench/",
    "docs/",
    "deploy/",
    "examples/",
    "requirements/",
)


def is_path(words: str) -> bool:
    return words.startswith(ROOTS) and not re.search(r"[\s*<>{}]", words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_between_backquotes_exists(page: Path) -> None:
    assert [words for words in code_words(page) if is_path(words) and not (ROOT / words).exists()] == []


def test_the_boxes_of_the_diagram_are_paths() -> None:
    diagram = fences(ARCHITECTURE)[0].text
    paths = [word.rstrip(":") for word in re.findall(r"[a-z_./]+/[a-z_./:]*", diagram)]
    places = (
        ROOT,
        ROOT / "services/trivet",
        *(ROOT / "services/trivet" / service for service in ("model_service", "tool_service")),
    )

    assert len(paths) > 8
    assert [path for path in paths if not any((place / path).exists() for place in places)] == []


def test_every_service_and_every_interceptor_is_walked_through() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")

    for package in (ROOT / "services/trivet").iterdir():
        assert package.name in text or package.suffix or package.name.startswith("__")
    for interceptor in (ROOT / "services/trivet/kernel/interceptors").glob("[a-z]*.py"):
        assert interceptor.stem.replace("_", " ") in text.replace("_", " "), interceptor.stem
