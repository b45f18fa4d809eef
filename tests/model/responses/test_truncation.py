"""`truncation: auto`: what is dropped of a conversation that is too long, and what never is."""

from typing import Any

import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.model.responses.turning import (
    Turning,
    as_json,
    asking,
    assistant,
    call,
    events_of,
    item,
    output,
    saying,
    user,
    whole,
)
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest, UpstreamFailed, UpstreamRejected
from trivet.model.v1.response_item_pb2 import Item
from trivet.model_service.responses.turns.truncation import MOST_TRIES, is_too_long, shortened, told_share

OPENAI = UpstreamRejected("Too long.", 400, "messages", "context_length_exceeded", "invalid_request_error")
LLAMA = UpstreamRejected(
    "request (300 tokens) exceeds the available context size (250 tokens), try increasing it",
    400,
    type="exceed_context_size_error",
)
VLLM = UpstreamRejected(
    "This model's maximum context length is 100 tokens. However, you requested 300 tokens (250 in the messages, 50 in the "
    "completion). Please reduce the length of the messages or completion.",
    400,
)
GEMINI = UpstreamRejected("The input token count (300) exceeds the maximum number of tokens allowed (250).", 400)
OTHER = UpstreamRejected("Unknown parameter: 'x'.", 400, "x", "unknown_parameter")

TURNS = [
    {"type": "message", "role": "system", "content": "rules"},
    user("first " * 40),
    assistant("one " * 40),
    user("second " * 40),
    call("c1"),
    output("c1", "found " * 40),
    assistant("two " * 40),
    user("third " * 10),
]


def texts(items: list[Item] | None) -> list[str]:
    return ["" if found is None else _short(found) for found in items or ()]


def _short(found: Item) -> str:
    given = codec_for(Item).encode(found)
    said = given.get("content") or given.get("call_id")
    return str(said).split(" ", maxsplit=1)[0]


def items(given: list[dict[str, Any]]) -> list[Item]:
    return [item(**one) for one in given]


@pytest.mark.parametrize("error", [OPENAI, LLAMA, VLLM, GEMINI], ids=["openai", "llama.cpp", "vllm", "gemini"])
async def test_a_conversation_that_is_too_long_is_asked_again_without_its_oldest_turns(error: UpstreamRejected) -> None:
    request = asking(input=TURNS, truncation="auto")
    dialect, streaming = Turning(error, saying("good")), Turning(error, saying("good"))

    response = await whole(dialect, request)
    events = await events_of(streaming, request)

    for asked in (dialect, streaming):
        assert len(asked.heard(0)) == len(TURNS)
        assert len(asked.heard(1)) < len(TURNS)
        assert asked.heard(1)[0] == ("system", "rules")
        assert asked.heard(1)[-1] == ("user", "third " * 10)
    assert (response.status, response.truncation) == ("completed", "auto")
    assert check_responses_stream(as_json(events)) == []
    assert events[-1].completed.response.truncation == "auto"


async def test_a_refusal_that_tells_sizes_is_followed_to_them() -> None:
    """Three quarters may stay: it is enough that the first turn goes."""
    dialect = Turning(LLAMA, saying("good"))

    await whole(dialect, asking(input=TURNS, truncation="auto"))

    assert [said.split(" ")[0] for _, said in dialect.heard(1)] == ["rules", "second", "c1", "c1", "two", "third"]


async def test_it_goes_on_until_nothing_more_may_go() -> None:
    dialect = Turning(OPENAI)

    with pytest.raises(UpstreamRejected, match="Too long"):
        await whole(dialect, asking(input=TURNS, truncation="auto"))

    assert dialect.heard() == [("system", "rules"), ("user", "third " * 10)]
    assert len(dialect.asked) <= MOST_TRIES + 1


@pytest.mark.parametrize("truncation", ["disabled", None])
async def test_without_it_the_refusal_stands(truncation: str | None) -> None:
    dialect = Turning(OPENAI, saying("good"))
    request = asking(input=TURNS, truncation=truncation)

    with pytest.raises(UpstreamRejected) as whole_refused:
        await whole(dialect, request)
    with pytest.raises(UpstreamRejected):
        await events_of(Turning(OPENAI, saying("good")), request)

    assert whole_refused.value.metadata["code"] == "context_length_exceeded"
    assert len(dialect.asked) == 1


@pytest.mark.parametrize("error", [OTHER, UpstreamFailed("It broke.")], ids=["another refusal", "a failure"])
async def test_other_errors_are_not_asked_again(error: UpstreamRejected | UpstreamFailed) -> None:
    dialect, streaming = Turning(error, saying("good")), Turning(error, saying("good"))

    with pytest.raises(type(error)):
        await whole(dialect, asking(input=TURNS, truncation="auto"))
    with pytest.raises(type(error)):
        await events_of(streaming, asking(input=TURNS, truncation="auto"))

    assert (len(dialect.asked), len(streaming.asked)) == (1, 1)


async def test_a_single_text_has_nothing_to_drop() -> None:
    dialect = Turning(OPENAI)

    with pytest.raises(UpstreamRejected):
        await whole(dialect, asking(truncation="auto"))

    assert len(dialect.asked) == 1


async def test_an_unknown_value_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        await whole(Turning(saying("x")), asking(truncation="some"))

    assert refused.value.param == "truncation"


def test_turns_go_as_wholes_the_oldest_first() -> None:
    assert texts(shortened(items(TURNS), 0.8)) == ["rules", "second", "c1", "c1", "two", "third"]
    assert texts(shortened(items(TURNS), 0.1)) == ["rules", "third"]


def test_in_the_last_turn_calls_go_with_their_outputs_and_the_last_step_stays() -> None:
    last = [
        user("question"),
        call("c1", "1" * 100),
        call("c2", "2" * 100),
        output("c1"),
        output("c2"),
        assistant("between " * 20),
        call("c3", "3" * 100),
        output("c3"),
    ]

    assert texts(shortened(items(last), 0.7)) == ["question", "between", "c3", "c3"]
    assert texts(shortened(items(last), 0.01)) == ["question", "between", "c3", "c3"]


def test_a_call_that_is_answered_late_is_not_parted_from_its_output() -> None:
    late = [user("q"), call("c1"), call("c2"), output("c1"), assistant("wait " * 30), output("c2"), call("c3"), output("c3")]

    assert texts(shortened(items(late), 0.01)) == ["q", "c3", "c3"]


def test_messages_of_the_system_and_the_developer_stay_where_they_are() -> None:
    developer = {"type": "message", "role": "developer", "content": "now"}

    assert texts(shortened(items([user("a " * 50), developer, assistant("b " * 50), user("c")]), 0.1)) == ["now", "c"]


def test_what_comes_before_the_first_question_goes_with_the_first_turn() -> None:
    assert texts(shortened(items([assistant("hello " * 50), user("a " * 50), assistant("b"), user("c")]), 0.1)) == ["c"]


@pytest.mark.parametrize("given", [[user("only")], [], [call("c1"), output("c1")], [user("q"), call("c1"), output("c1")]])
def test_what_the_model_is_to_answer_now_stays(given: list[dict[str, Any]]) -> None:
    assert shortened(items(given), 0.1) is None


@pytest.mark.parametrize(
    ("message", "share"),
    [
        (LLAMA.message, 0.75),
        (VLLM.message, 0.3),
        ("This model's maximum context length is 8192 tokens.", 0.5),
        ("Too long.", 0.5),
        ("500 of 500 tokens", 0.5),
    ],
)
def test_sizes_are_read_from_the_refusal(message: str, share: float) -> None:
    assert told_share(message) == pytest.approx(share)


@pytest.mark.parametrize("words", ["Prompt is too long: 5 > 4", "input is too long for requested model", "Too many input tokens"])
def test_servers_without_a_code_are_understood(words: str) -> None:
    assert is_too_long(UpstreamRejected(words, 400))
    assert not is_too_long(UpstreamFailed(words))
