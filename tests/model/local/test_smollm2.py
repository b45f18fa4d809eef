"""SmolLM2 itself: it answers, decides on tools, calls them with fitting arguments, and tells their results."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.upstreams.llama import Llama
from trivet.model_service.adapters.local.model import LocalModel
from trivet.model_service.adapters.local.requests import adapt

BOUND = 120.0

# What mcp-server-time lists, less its titles.
ZONE = "IANA timezone name (e.g., 'America/New_York', 'Europe/London'). Use 'UTC' as local timezone if no timezone provided by the user."
TIME = [
    {
        "type": "function",
        "function": {
            "name": "get_current_time",
            "description": "Get current time in a specific timezone",
            "parameters": {
                "type": "object",
                "properties": {"timezone": {"type": "string", "description": ZONE}},
                "required": ["timezone"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "convert_time",
            "description": "Convert time between timezones",
            "parameters": {
                "type": "object",
                "properties": {
                    "source_timezone": {"type": "string", "description": ZONE},
                    "time": {"type": "string", "description": "Time to convert in 24-hour format (HH:MM)"},
                    "target_timezone": {"type": "string", "description": ZONE},
                },
                "required": ["source_timezone", "time", "target_timezone"],
            },
        },
    },
]
DEMO = "What time is it in UTC right now? Use the tool."


async def ask(client: AsyncOpenAI, *messages: Any, **more: Any) -> Any:
    answer = await client.chat.completions.create(**adapt({"model": "smollm2", "messages": list(messages), **more}))
    return answer.choices[0]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def test_the_installed_model_starts_by_itself_and_answers() -> None:
    model = LocalModel()
    try:
        base_url, key = await model.endpoint()
        async with AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
            assert "Paris" in (await ask(client, user("What is the capital of France?"))).message.content
            assert [listed.id async for listed in await client.models.list()] == ["smollm2"]
    finally:
        await model.aclose()


async def test_text_streams_piece_by_piece_with_usage_at_its_end(smollm2: AsyncOpenAI) -> None:
    body = adapt({"model": "smollm2", "messages": [user("What is the capital of France?")]})
    chunks = [c async for c in await smollm2.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})]
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert len(pieces) > 4
    assert "Paris" in "".join(pieces)
    assert chunks[-1].usage is not None
    assert {chunk.model for chunk in chunks} == {"smollm2"}


@pytest.mark.parametrize(("question", "zone"), [(DEMO, "UTC"), ("What time is it in Tokyo?", "Asia/Tokyo")])
async def test_a_question_that_needs_a_tool_becomes_its_call(smollm2: AsyncOpenAI, question: str, zone: str) -> None:
    choice = await ask(smollm2, user(question), tools=TIME)
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.function.name == "get_current_time"
    assert json.loads(call.function.arguments) == {"timezone": zone}


async def test_a_question_that_needs_no_tool_is_answered(smollm2: AsyncOpenAI) -> None:
    choice = await ask(smollm2, user("What is the capital of France?"), tools=TIME)
    assert choice.message.tool_calls is None
    assert "Paris" in choice.message.content


async def test_a_call_streams_its_name_first_and_then_its_arguments(smollm2: AsyncOpenAI) -> None:
    body = adapt({"model": "smollm2", "messages": [user(DEMO)], "tools": TIME})
    chunks = [choice async for c in await smollm2.chat.completions.create(**body, stream=True) for choice in c.choices]
    calls = [call for choice in chunks for call in choice.delta.tool_calls or []]
    assert calls[0].function is not None
    assert calls[0].function.name == "get_current_time"
    assert all(call.function is not None and call.function.name is None for call in calls[1:])
    assert json.loads("".join(call.function.arguments or "" for call in calls if call.function)) == {"timezone": "UTC"}
    assert not any(choice.delta.content for choice in chunks)
    assert chunks[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("choice", "name"), [("required", None), ({"type": "function", "function": {"name": "convert_time"}}, "convert_time")]
)
async def test_a_call_that_is_asked_for_comes(smollm2: AsyncOpenAI, choice: Any, name: str | None) -> None:
    answer = await ask(smollm2, user("Hello!"), tools=TIME, tool_choice=choice, parallel_tool_calls=False)
    [call] = answer.message.tool_calls
    assert call.function.name == (name or call.function.name)
    [schema] = [tool["function"]["parameters"] for tool in TIME if tool["function"]["name"] == call.function.name]  # type: ignore[index]
    assert set(json.loads(call.function.arguments)) == set(schema["required"])


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (
            '{\n  "timezone": "UTC",\n  "datetime": "2026-03-04T11:30:55+00:00",\n  "day_of_week": "Wednesday",\n  "is_dst": false\n}',
            "11:30",
        ),
        ("Error executing tool get_current_time: Invalid timezone: 'No time zone found with key Tokyo'", "Invalid timezone"),
    ],
)
async def test_a_tools_result_is_told(smollm2: AsyncOpenAI, result: str, told: str) -> None:
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_current_time", "arguments": '{"timezone": "UTC"}'}}
        ],
    }
    choice = await ask(smollm2, user(DEMO), called, {"role": "tool", "tool_call_id": "c1", "content": result}, tools=TIME)
    assert choice.message.tool_calls is None
    assert told in choice.message.content


async def test_a_response_format_is_kept_to(smollm2: AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 40}, "in_europe": {"type": "boolean"}},
        "required": ["city", "in_europe"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    choice = await ask(smollm2, user("What is the capital of France?"), response_format=wanted)
    assert set(json.loads(choice.message.content)) == {"city", "in_europe"}


async def test_a_prompt_that_is_too_long_is_the_callers_error(smollm2: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await ask(smollm2, user("word " * 9000))
    assert refused.value.type == "exceed_context_size_error"


async def test_four_answers_run_at_once_and_those_left_make_room(smollm2: AsyncOpenAI, smollm2_server: Llama) -> None:
    endless: dict[str, Any] = {"model": "smollm2", "messages": [user("Tell me a story.")], "max_tokens": 2000, "stream": True}
    async with AsyncExitStack() as stories, asyncio.timeout(BOUND):
        for _ in range(4):
            story = await smollm2.chat.completions.create(**endless, extra_body={"ignore_eos": True})
            await stories.enter_async_context(story)
            assert await anext(aiter(story))
    # Each of the four would go on for minutes. All places were taken, so this answer comes only because they left.
    async with asyncio.timeout(BOUND / 4):
        assert "Paris" in (await ask(smollm2, user("What is the capital of France?"))).message.content
