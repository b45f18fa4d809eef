"""What llama.cpp is asked, for each kind of turn."""

import copy
from typing import Any

import orjson
import pytest

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.local import examples
from trivet.model_service.adapters.local.requests import DEFAULT_MAX_TOKENS, adapt

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}
NOW = {"type": "function", "function": {"name": "now"}}
USER = {"role": "user", "content": "What time is it?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
}


def result(content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "c1", "content": content}


def ask(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return adapt({"model": "smollm2", "messages": list(messages), **more})


def test_a_plain_chat_stays_as_it_is_but_for_greedy_sampling_and_an_end() -> None:
    assert ask(USER) == {"model": "smollm2", "messages": [USER], "temperature": 0, "max_tokens": DEFAULT_MAX_TOKENS}


def test_the_callers_sampling_and_limit_are_kept() -> None:
    asked = ask(USER, temperature=0.7, max_completion_tokens=9, stop="x")
    assert asked == {"model": "smollm2", "messages": [USER], "temperature": 0.7, "max_completion_tokens": 9, "stop": "x"}


def test_the_callers_body_is_not_changed() -> None:
    body = {"model": "m", "messages": [USER, CALL, result("{}")], "tools": [NOW], "stop": ["x"]}
    before = copy.deepcopy(body)
    adapt(body)
    assert body == before


def test_all_instructions_become_one_system_message_at_the_start() -> None:
    asked = ask(
        {"role": "developer", "content": "Be brief."}, USER, {"role": "system", "content": [{"type": "text", "text": "Be kind."}]}
    )
    assert asked["messages"] == [{"role": "system", "content": "Be brief.\n\nBe kind."}, USER]


def test_tools_on_auto_leave_the_decision_to_the_model_after_examples() -> None:
    asked = ask(USER, tools=[ADD], temperature=1.5, parallel_tool_calls=True)
    assert asked["messages"] == [examples.SYSTEM, *examples.DECISIONS, USER]
    assert (asked["tools"], asked["tool_choice"], asked["temperature"]) == ([ADD], "auto", 0)


@pytest.mark.parametrize("stop", [None, "x", ["x", "y"]])
def test_a_turn_ends_with_its_first_call(stop: str | list[str] | None) -> None:
    assert ask(USER, tools=[ADD], stop=stop)["stop"] == [*(stop or []), "</tool_call>"]


def test_required_begins_the_call() -> None:
    asked = ask(USER, tools=[ADD, NOW], tool_choice="required")
    assert asked["messages"][-2:] == [USER, {"role": "assistant", "content": "<tool_call>\n"}]
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["add", "now"]
    assert asked["tool_choice"] == "required"


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "now"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]},
        },
    ],
)
def test_a_choice_among_tools_offers_no_other(choice: dict[str, Any]) -> None:
    asked = ask(USER, tools=[ADD, NOW], tool_choice=choice)
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["now"]
    assert asked["messages"][-1]["content"] == "<tool_call>\n"


def test_a_tool_without_parameters_gets_an_empty_schema() -> None:
    assert ask(USER, tools=[NOW])["tools"][0]["function"]["parameters"] == {"type": "object"}


def test_no_tool_is_offered_where_none_may_be_called() -> None:
    assert ask(USER, tools=[ADD], tool_choice="none") == ask(USER)


def test_a_result_is_put_with_its_question_and_without_tools() -> None:
    asked = ask(USER, CALL, result('{"zone": {"name": "UTC", "dst": false}, "days": ["Sun"]}'), tools=[NOW])
    question = {"role": "user", "content": "Result:\nzone name: UTC\nzone dst: false\ndays 1: Sun\n\nQuestion: What time is it?"}
    assert asked["messages"] == [examples.SYSTEM, *examples.ABOUT_DATA, question]
    assert "tools" not in asked


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("Error executing tool now", examples.ABOUT_FAILURE),
        ('{"error": "no"}', examples.ABOUT_FAILURE),
        ("[1, 2]", examples.ABOUT_DATA),
        ("12", examples.ABOUT_TEXT),
        ("[FILE] a.txt", examples.ABOUT_TEXT),
        ("[" * 100_000, examples.ABOUT_TEXT),
        ("", examples.ABOUT_TEXT),
    ],
)
def test_examples_fit_the_kind_of_result(content: str, shown: tuple[dict[str, Any], ...]) -> None:
    assert ask(USER, CALL, result(content))["messages"][1 : 1 + len(shown)] == list(shown)


def test_all_results_since_the_question_count_and_what_came_before_it_stays() -> None:
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    asked = ask({"role": "system", "content": "S"}, *before, USER, CALL, result("one"), CALL, result("two"), tools=[NOW])
    assert asked["messages"][0]["content"] == "S"
    assert asked["messages"][-3:] == [
        *before,
        {"role": "user", "content": "Result:\none\n\nResult:\ntwo\n\nQuestion: What time is it?"},
    ]


def test_results_without_a_question_are_put_alone() -> None:
    assert ask(CALL, result("one"))["messages"][-1] == {"role": "user", "content": "Result:\none"}


def test_required_calls_again_after_a_result() -> None:
    asked = ask(USER, CALL, result("{}"), tools=[NOW], tool_choice="required")
    assert asked["messages"][-3:] == [CALL, result("{}"), {"role": "assistant", "content": "<tool_call>\n"}]


def test_raw_json_is_read() -> None:
    raw = {"type": "function", "function": {"name": "now", "parameters": orjson.Fragment(b'{"type":"object"}')}}
    assert ask(USER, tools=[raw])["tools"][0]["function"]["parameters"] == {"type": "object"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (
            {"messages": [USER, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[1].content[0]",
        ),
        ({"messages": [USER], "modalities": ["text", "audio"]}, "modalities"),
        ({"messages": [USER], "functions": []}, "functions"),
        ({"messages": [USER], "reasoning_effort": "low"}, "reasoning_effort"),
        ({"messages": [USER], "tools": [ADD, {"type": "custom", "custom": {"name": "x"}}]}, "tools[1]"),
        ({"messages": [USER], "tools": [ADD], "tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice"),
        ({"messages": [USER], "tools": [ADD], "response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_what_the_model_cannot_take_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        adapt(body)
    assert refused.value.param == param
