"""Writes docs/support.md: what each face can ask of each type of provider, and what their answers may hold.

The cells are what the code does, not what somebody says of it: each request is translated, each sample of an answer is read. `make
reference` runs this; tests/model/test_support.py proves the cells, and fails when the page is not what this would write.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.model.support_answers import ANSWERS
from tests.model.support_dialects import READERS, is_told
from tests.model.support_requests import BODIES, FACES, FEATURES, cell

PAGE = Path(__file__).parents[1] / "docs/support.md"

HEAD = """\
# What is supported

Made by `make reference` from what the code does with a request and with an answer of each kind: change the code, not this page.
`tests/model/test_support.py` proves each cell. The whole story of each translation, field by field, is in [dialects.md](dialects.md).

- **yes**: it reaches the provider, in the words of its API.
- **400** with a name: the provider's API cannot say it. The request is refused, and the error names the parameter.
- **no effect**: it is taken, and changes nothing there, for the reason that [dialects.md](dialects.md) gives.
- **-**: the face has no word for it (in requests), or the provider's API does not tell it (in answers).

An agent run (`/agent/responses`) asks its model as chat completions do. `openai-chat` differs by the server:
[the table of flavors](dialects.md#chat-completions-over-openai-chat) says how, and forms of it with less are [`cohere`](dialects.md#cohere)
and [`local`](dialects.md#the-embedded-model). What is served by some providers only, `/messages`, embeddings, reranking, moderation and
audio, stands [on the same page](dialects.md#what-passes-to-some-providers-only). What a certain model can do is the model's own: what it
does not take, its provider refuses.
"""


def support_page() -> str:
    """The whole of the page."""
    return "\n".join([HEAD, *_requests(), *_answers()])


def _requests() -> Iterator[str]:
    for face in FACES:
        yield from (f"## Requests: {face}", "", *_head(BODIES))
        for feature in FEATURES:
            yield _row(feature.name, [cell(face, provider, feature) for provider in BODIES])
        yield ""


def _answers() -> Iterator[str]:
    yield from ("## Answers", "", "Both faces show all of it, streamed and whole.", "", *_head(READERS))
    for answer in ANSWERS:
        yield _row(answer.name, ["yes" if is_told(provider, answer) else "-" for provider in READERS])
    yield ""


def _head(columns: object) -> Iterator[str]:
    names = [f"`{name.split()[0]}`{name.removeprefix(name.split()[0])}" for name in columns]  # type: ignore[attr-defined]
    yield _row("", names)
    yield _row("---", ["---"] * len(names))


def _row(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(support_page(), encoding="utf-8")
