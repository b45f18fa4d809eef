"""The official SDK through Trivet to servers that others wrote: llmock, and llama.cpp with a model of random weights."""

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import openai
import pytest
import pytest_asyncio
from llmock.testing import LLMockServer
from pydantic import BaseModel

from tests.e2e.rig import KEY, gateway
from tests.e2e.sdk import Recorder, sdk
from tests.upstreams.llama import start_llama
from tests.upstreams.tiny_model import make_tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODELS = ["mock-chat/gpt-4o", "mock-responses/gpt-4o", "llama-chat/tiny", "llama-responses/tiny"]
of_every_model = pytest.mark.parametrize("model", [*MODELS, "mock-claude/claude-opus-4-6", "llama-claude/tiny"])
# llama.cpp's Responses API takes no notice of `text.format` and has no logprobs, and llmock has none either.
of_models_that_keep_a_schema = pytest.mark.parametrize("model", MODELS[:3])
of_models_with_logprobs = pytest.mark.parametrize("model", MODELS[2:3])

LIMIT = 24
"""Tokens: random weights seldom come to an end by themselves."""
SHORT: dict[str, Any] = {"max_output_tokens": LIMIT, "temperature": 0}


class Weather(BaseModel):
    city: Literal["Paris", "Zürich"]
    sunny: bool


SCHEMA = {**Weather.model_json_schema(), "additionalProperties": False}
QUESTION = "What is the weather in Paris?"
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
CALL_BEGUN = {"role": "assistant", "content": "<tool_call>\n"}
"""What makes llama.cpp hold any model to a call: it has begun one already. llmock takes no notice."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[openai.AsyncOpenAI]:
    tiny = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf")
    with LLMockServer() as mock, start_llama(tiny) as llama:
        places = {"mock": (mock.base_url("openai"), "sk-mock"), "llama": (llama.base_url, llama.api_key)}
        providers = [
            {"name": f"{name}-{dialect}", "type": f"openai-{dialect}", "base_url": url, "api_key": key}
            for name, (url, key) in places.items()
            for dialect in ("chat", "responses")
        ]
        providers += [
            {"name": "mock-claude", "type": "anthropic", "base_url": f"{mock.base_url('anthropic')}/v1", "api_key": "sk-mock"},
            {"name": "llama-claude", "type": "anthropic", "base_url": llama.base_url, "api_key": llama.api_key},
        ]
        async with gateway(providers=providers) as rig, sdk(f"http://{rig.gateway.http}/v1", KEY) as opened:
            yield opened


@of_every_model
async def test_a_response_comes_whole(client: openai.AsyncOpenAI, model: str) -> None:
    given = await client.responses.create(model=model, input=QUESTION, **SHORT)

    assert given.status in ("completed", "incomplete")
    assert given.model == model
    assert given.output[0].type == "message"
    assert given.usage is not None
    assert given.usage.total_tokens > 0


@of_every_model
async def test_the_end_of_a_response_is_what_was_streamed(client: openai.AsyncOpenAI, model: str) -> None:
    text = ""
    async for event in await client.responses.create(model=model, input=QUESTION, **SHORT, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        last = event

    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.output_text == text


@of_every_model
async def test_a_chat_completion_comes_whole(client: openai.AsyncOpenAI, model: str) -> None:
    given = await client.chat.completions.create(model=model, messages=ASKED, max_tokens=LIMIT, temperature=0)

    assert given.model == model
    assert given.choices[0].finish_reason in ("stop", "length")
    assert given.usage is not None
    assert given.usage.total_tokens > 0


@of_every_model
async def test_a_chat_completion_streams_and_counts(client: openai.AsyncOpenAI, model: str) -> None:
    asked = await client.chat.completions.create(
        model=model, messages=ASKED, max_tokens=LIMIT, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in asked]

    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] in ("stop", "length")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0


async def made_call(client: openai.AsyncOpenAI, model: str, tools: Any) -> Any:
    """A response that calls a function."""
    # llama.cpp's own stream of a random model gives two items one index, now and then; its events are passed on as they are.
    for _ in range(4):
        recorder = Recorder()
        async with openai.DefaultAsyncHttpxClient(transport=recorder) as http:
            try:
                async with client.with_options(http_client=http).responses.stream(
                    model=model, input=[*ASKED, CALL_BEGUN], tools=tools, tool_choice="required", temperature=0
                ) as events:
                    called = await events.get_final_response()
            except RuntimeError as error:
                if "Duplicate response output index" not in str(error):
                    raise
                continue
        if not recorder.faults():
            return called
    raise AssertionError("no stream of four was sound")


@of_every_model
async def test_a_function_goes_there_and_back_in_responses(client: openai.AsyncOpenAI, model: str) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}]
    called = await made_call(client, model, tools)
    calls = [item for item in called.output if item.type == "function_call"]
    assert {call.name for call in calls} == {"weather"}
    assert all(Weather.model_validate_json(call.arguments) for call in calls)

    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    asked: Any = [*ASKED, *(call.to_dict() for call in calls), *results]
    given = await client.responses.create(model=model, input=asked, tools=tools, tool_choice="none", **SHORT)
    assert {item.type for item in given.output} <= {"message"}


@of_every_model
async def test_a_function_goes_there_and_back_in_a_chat(client: openai.AsyncOpenAI, model: str) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}}]
    async with client.chat.completions.stream(
        model=model, messages=[*ASKED, CALL_BEGUN], tools=tools, tool_choice="required"
    ) as events:
        called = await events.get_final_completion()
    message = called.choices[0].message
    calls = message.tool_calls or []
    assert {call.function.name for call in calls} == {"weather"}
    assert all(Weather.model_validate_json(call.function.arguments) for call in calls)

    results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
    asked: Any = [*ASKED, message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}), *results]
    given = await client.chat.completions.create(
        model=model, messages=asked, tools=tools, tool_choice="none", max_tokens=LIMIT, temperature=0
    )
    assert given.choices[0].message.tool_calls in (None, [])


@of_models_that_keep_a_schema
async def test_a_response_is_parsed_into_its_model(client: openai.AsyncOpenAI, model: str) -> None:
    given = await client.responses.parse(model=model, input=QUESTION, text_format=Weather)

    assert isinstance(given.output_parsed, Weather)
    async with client.responses.stream(model=model, input=QUESTION, text_format=Weather) as events:
        streamed = await events.get_final_response()
    assert isinstance(streamed.output_parsed, Weather)


@of_models_that_keep_a_schema
async def test_a_chat_completion_is_parsed_into_its_model(client: openai.AsyncOpenAI, model: str) -> None:
    given = await client.chat.completions.parse(model=model, messages=ASKED, response_format=Weather)

    assert isinstance(given.choices[0].message.parsed, Weather)
    assert given.choices[0].message.content is not None
    assert set(json.loads(given.choices[0].message.content)) == {"city", "sunny"}


@of_models_with_logprobs
async def test_a_chat_completion_has_logprobs(client: openai.AsyncOpenAI, model: str) -> None:
    given = await client.chat.completions.create(
        model=model, messages=ASKED, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2
    )

    assert given.choices[0].logprobs is not None
    assert {len(token.top_logprobs) for token in given.choices[0].logprobs.content or ()} == {2}
