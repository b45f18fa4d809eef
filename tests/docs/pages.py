"""The project's documents, as tests read them."""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "gen/README.md",
        ROOT / "third_party/googleapis/README.md",
    )
)


@dataclass(frozen=True)
class Fence:
    """A fenced example: its language, what else stands behind it in the fence, and the line of the page it begins in."""

    language: str
    words: str
    text: str
    line: int


def name_of(page: Path) -> str:
    """The page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def fences(page: Path) -> list[Fence]:
    """The fenced examples of a page, in order."""
    found: list[Fence] = []
    for token in _tokens(page):
        if token.type == "fence":
            language, _, words = token.info.strip().partition(" ")
            found.append(Fence(language, words, token.content, (token.map or [0])[0] + 1))
    return found


def links(page: Path) -> list[str]:
    """Where the links and images of a page lead."""
    inline = [child for token in _tokens(page) for child in token.children or ()]
    targets = [child.attrs.get("href") or child.attrs.get("src") for child in inline]
    return [str(target) for target in targets if target]


def code_words(page: Path) -> list[str]:
    """What stands between backquotes in the page's prose."""
    return [child.content for token in _tokens(page) for child in token.children or () if child.type == "code_inline"]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the page's headings."""
    tokens = _tokens(page)
    headings = [after for before, after in pairwise(tokens) if before.type == "heading_open"]
    texts = ["".join(child.content for child in heading.children or ()) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
