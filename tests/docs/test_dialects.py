"""The page of the dialects lists every field that a translation refuses or does without, and no other."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.pages import ROOT
from tests.model import test_every_field as fields
from tests.model.every_field import Probe, plain, probes
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.errors import ServiceError, UnsupportedParameter
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.chat_flavors import COMPATIBLE
from trivet.model_service.adapters.local.requests import adapt

PAGE = ROOT / "docs/dialects.md"

CHAT = (
    "## Chat completions over `openai-responses`",
    CreateChatCompletionRequest,
    fields.chat_over_responses,
    fields.CHAT_NEEDED,
    fields.CHAT_SAMPLES,
    fields.MEANINGLESS_FOR_RESPONSES,
)
RESPONSES = (
    "## Responses over `openai-chat` and `local`",
    CreateResponseRequest,
    fields.responses_over_chat(COMPATIBLE),
    fields.RESPONSE_NEEDED,
    fields.RESPONSE_SAMPLES,
    fields.MEANINGLESS_FOR_CHAT,
)
CHAT_GEMINI = (
    "## Chat completions over `gemini`",
    CreateChatCompletionRequest,
    fields.chat_over_gemini,
    fields.CHAT_NEEDED | fields.GEMINI_FILE,
    fields.CHAT_SAMPLES,
    fields.CHAT_MEANINGLESS_FOR_GEMINI,
)
RESPONSES_GEMINI = (
    "## Responses over `gemini`",
    CreateResponseRequest,
    fields.responses_over_gemini,
    fields.RESPONSE_NEEDED | fields.GEMINI_FILE,
    fields.RESPONSE_SAMPLES,
    fields.RESPONSES_MEANINGLESS_FOR_GEMINI,
)
CHAT_OVER_CLAUDE = (
    "## Chat completions over `anthropic`",
    CreateChatCompletionRequest,
    fields.chat_over_claude,
    fields.CLAUDE_CHAT_NEEDED,
    fields.CHAT_SAMPLES,
    fields.MEANINGLESS_FOR_CLAUDE_IN_CHAT,
)
RESPONSES_OVER_CLAUDE = (
    "## Responses over `anthropic`",
    CreateResponseRequest,
    fields.responses_over_claude,
    fields.CLAUDE_RESPONSE_NEEDED,
    fields.RESPONSE_SAMPLES,
    fields.MEANINGLESS_FOR_CLAUDE_IN_RESPONSES,
)
CHAT_BEDROCK = (
    "## Chat completions over `bedrock`",
    CreateChatCompletionRequest,
    fields.chat_over_bedrock,
    fields.CHAT_NEEDED | fields.INLINE,
    fields.CHAT_SAMPLES,
    fields.MEANINGLESS_FOR_BEDROCK,
)
RESPONSES_BEDROCK = (
    "## Responses over `bedrock`",
    CreateResponseRequest,
    fields.responses_over_bedrock,
    fields.RESPONSE_NEEDED | fields.INLINE,
    fields.RESPONSE_SAMPLES,
    fields.MEANINGLESS_FOR_BEDROCK_TOO,
)
TRANSLATIONS = pytest.mark.parametrize(
    "translation",
    [
        pytest.param(CHAT, id="chat over responses"),
        pytest.param(RESPONSES, id="responses over chat"),
        pytest.param(CHAT_GEMINI, id="chat over gemini"),
        pytest.param(RESPONSES_GEMINI, id="responses over gemini"),
        pytest.param(CHAT_OVER_CLAUDE, id="chat over anthropic"),
        pytest.param(RESPONSES_OVER_CLAUDE, id="responses over anthropic"),
        pytest.param(CHAT_BEDROCK, id="chat over bedrock"),
        pytest.param(RESPONSES_BEDROCK, id="responses over bedrock"),
    ],
)

GOES_ON_FROM = {RESPONSES_BEDROCK[0]: RESPONSES[0], RESPONSES_OVER_CLAUDE[0]: RESPONSES[0]}
"""Sections that tell only what another one does not."""

KINDS_ARE_LISTED = {"input[]", "input[].content[]", "input[].output[]", "tools[]", "tool_choice"}
"""Where a refusal is about the type of what stands there, not about all of it."""


@TRANSLATIONS
def test_what_a_translation_refuses_is_on_the_page(translation: tuple[Any, ...]) -> None:
    kinds = translation[1] is CreateResponseRequest
    refused = {word for probe, error in _refused(translation) for word in _words_of_refusal(probe, error, kinds)}
    fields_told, words = _table(translation[0], "Refused")

    assert len(refused) > 15
    assert refused - words - _told_before(translation, "Refused")[1] == set()
    assert fields_told - refused == set()


@TRANSLATIONS
def test_what_a_translation_does_without_is_on_the_page(translation: tuple[Any, ...]) -> None:
    _, _, way, *_ = translation
    dropped = {_key(probe) for probe in _probes(translation) if fields.is_dropped(probe, way)}
    fields_told, _ = _table(translation[0], "Of no effect")

    assert len(dropped) > 5
    assert dropped - fields_told - _told_before(translation, "Of no effect")[0] == set()
    assert fields_told - dropped <= {"tool_choice.allowed_tools", "function_call_output"}


def test_what_the_embedded_model_refuses_is_on_the_page() -> None:
    told = re.findall(r"`([a-z_]+)`", _section("## The embedded model").partition("It refuses")[2].partition("other")[0])

    assert len(told) == 7
    for name in told:
        with pytest.raises(UnsupportedParameter) as refused:
            adapt({"messages": [], name: "x"})
        assert refused.value.param == name


def _probes(translation: tuple[Any, ...]) -> Iterator[Probe]:
    _, message_class, way, needed, samples, meaningless = translation
    found = probes(message_class.DESCRIPTOR, needed, samples, lambda probe: fields.is_left_out(probe, way, meaningless))
    return (probe for probe in found if not probe.path.endswith("novel"))


def _refused(translation: tuple[Any, ...]) -> Iterator[tuple[Probe, ServiceError]]:
    way = translation[2]
    for probe in _probes(translation):
        outcome = fields.outcome(way, probe.given)
        if isinstance(outcome, UnsupportedParameter):
            yield probe, outcome


def _words_of_refusal(probe: Probe, error: ServiceError, kinds: bool) -> Iterator[str]:
    """The path of the field, and the type of what was refused there."""
    param = error.param.replace("[0]", "[]").replace("tools[].tools[]", "tools[]" if kinds else "tools[].tools[]")
    yield param
    kind = re.search(r"<(\w+)>$", probe.path)
    about_the_kind = kind and kind[1] != "unknown" and plain(probe.path) == error.param
    if kinds and about_the_kind and kind and param in KINDS_ARE_LISTED:
        yield kind[1]


def _key(probe: Probe) -> str:
    """The key that has no effect; of a tool that is left out, its type."""
    if tool := re.search(r"^tools\[\].*<(\w+)>$", probe.path):
        return "web_search" if tool[1] == "unknown" else tool[1]
    return plain(probe.path).removesuffix(".k").removesuffix("[0]").rpartition(".")[2]


def _told_before(translation: tuple[Any, ...], head: str) -> tuple[set[str], set[str]]:
    before = GOES_ON_FROM.get(translation[0])
    return _table(before, head) if before else (set(), set())


def _section(heading: str) -> str:
    return PAGE.read_text(encoding="utf-8").partition(f"{heading}\n")[2].partition("\n## ")[0]


def _table(heading: str, head: str) -> tuple[set[str], set[str]]:
    """What is between backquotes in the first column of a table, and in all of it."""
    rows = _section(heading).partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    first = {word for row in rows for word in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    return first, {word for row in rows for word in re.findall(r"`([^`]+)`", row)}
