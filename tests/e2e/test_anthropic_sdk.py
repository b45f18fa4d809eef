"""Anthropic's own SDK through Trivet, to servers that others wrote: llmock, and llama.cpp with a model of random weights."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from llmock.scenarios import Fail, Match, Reply, ToolCall
from llmock.testing import LLMockServer

from tests.e2e.rig import KEY, Rig, gateway
from tests.upstreams.llama import start_llama
from tests.upstreams.tiny_model import make_tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[Any] = [{"name": "get_weather", "description": "The weather of a city.", "input_schema": SCHEMA}]
ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
CLAUDE = "claude/claude-sonnet-4-5"


@dataclass(frozen=True)
class Place:
    """The SDK, pointed at a gateway, and the mock behind it."""

    sdk: anthropic.AsyncAnthropic
    mock: LLMockServer
    rig: Rig


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    tiny = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf")
    with LLMockServer() as mock, start_llama(tiny) as llama:
        at = f"{mock.base_url('anthropic')}/v1"
        providers = [
            {"name": "claude", "type": "anthropic", "base_url": at, "api_key": "sk-mock"},
            {"name": "spare", "type": "anthropic", "base_url": at, "api_key": "sk-mock"},
            {"name": "llama", "type": "anthropic", "base_url": llama.base_url, "api_key": llama.api_key},
            {"name": "chat", "type": "openai-chat", "base_url": mock.base_url("openai"), "api_key": "sk-mock"},
        ]
        targets = [{"model": CLAUDE, "retry": {"attempts": 1}}, {"model": "spare/claude-haiku-4-5", "priority": 1}]
        async with (
            gateway(providers=providers, models=[{"name": "smart", "targets": targets}]) as rig,
            anthropic.AsyncAnthropic(base_url=f"http://{rig.gateway.http}", api_key=KEY, max_retries=0) as sdk,
        ):
            yield Place(sdk, mock, rig)


@pytest.fixture(autouse=True)
def nothing_planned(place: Place) -> None:
    place.mock.state.scenarios.clear()


async def test_a_message_comes_whole(place: Place) -> None:
    place.mock.state.scenarios.add(Reply(text="It is sunny."))
    message = await place.sdk.messages.create(model=CLAUDE, max_tokens=50, messages=ASKED)

    assert [block.text for block in message.content if block.type == "text"] == ["It is sunny."]
    assert (message.model, message.stop_reason) == (CLAUDE, "end_turn")
    assert message.usage.output_tokens > 0


async def test_a_tool_goes_there_and_back_as_a_stream(place: Place) -> None:
    place.mock.state.scenarios.add(Reply(tool_calls=(ToolCall("get_weather", {"city": "Paris"}),)))
    async with place.sdk.messages.stream(model=CLAUDE, max_tokens=50, messages=ASKED, tools=TOOLS) as events:
        called = await events.get_final_message()
    [call] = [block for block in called.content if block.type == "tool_use"]
    assert (call.name, call.input, called.stop_reason) == ("get_weather", {"city": "Paris"}, "tool_use")

    place.mock.state.scenarios.add(Reply(text="21C"))
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "21C"}]}
    spoken: Any = {"role": "assistant", "content": [block.to_dict() for block in called.content]}
    async with place.sdk.messages.stream(model=CLAUDE, max_tokens=50, messages=[*ASKED, spoken, result], tools=TOOLS) as events:
        text = [piece async for piece in events.text_stream]
    assert "".join(text) == "21C"


async def test_a_real_server_answers_and_counts(place: Place) -> None:
    counted = await place.sdk.messages.count_tokens(model="llama/tiny", messages=ASKED)
    message = await place.sdk.messages.create(model="llama/tiny", max_tokens=4, messages=ASKED)

    assert counted.input_tokens > 0
    assert message.usage.input_tokens > 0
    assert message.stop_reason in ("max_tokens", "end_turn")


async def test_a_model_of_another_api_is_refused_by_name(place: Place) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        await place.sdk.messages.create(model="chat/gpt-4o", max_tokens=5, messages=ASKED)

    assert "Messages API" in str(refused.value)


async def test_a_wrong_key_is_told_as_one(place: Place) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        await place.sdk.with_options(api_key="sk-wrong").messages.create(model=CLAUDE, max_tokens=5, messages=ASKED)


async def test_a_url_of_a_private_address_is_refused(place: Place) -> None:
    image: Any = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:1/cat.png"}}
    with pytest.raises(anthropic.BadRequestError) as refused:
        await place.sdk.messages.create(model=CLAUDE, max_tokens=5, messages=[{"role": "user", "content": [image]}])
    with pytest.raises(anthropic.BadRequestError) as uncounted:
        await place.sdk.messages.count_tokens(model=CLAUDE, messages=[{"role": "user", "content": [image]}])

    for error in (refused.value, uncounted.value):
        assert error.body["error"]["param"] == "messages[0].content[0].source.url"  # type: ignore[index]


@pytest.mark.parametrize("stream", [True, False])
async def test_another_target_answers_where_the_first_one_fails(place: Place, stream: bool) -> None:
    place.mock.state.scenarios.add(Fail(529, match=Match(model="claude-sonnet-4-5")))
    place.mock.state.scenarios.add(Reply(text="from the spare", match=Match(model="claude-haiku-4-5")))
    if stream:
        async with place.sdk.messages.stream(model="smart", max_tokens=50, messages=ASKED) as events:
            message = await events.get_final_message()
    else:
        message = await place.sdk.messages.create(model="smart", max_tokens=50, messages=ASKED)

    assert [block.text for block in message.content if block.type == "text"] == ["from the spare"]
    assert message.model == "smart"


async def test_what_messages_took_is_in_the_usage(place: Place) -> None:
    place.mock.state.scenarios.add(Reply(text="Counted."))
    async with place.sdk.messages.stream(
        model=CLAUDE, max_tokens=50, messages=ASKED, extra_headers={"x-trivet-metadata": json.dumps({"of": "messages"})}
    ) as events:
        message = await events.get_final_message()

    async with place.rig.http.get("/v1/usage/calls", params={"metadata[of]": "messages"}) as answer:
        [call] = (await answer.json())["data"]
    assert (call["operation"], call["status"]) == ("messages", 200)
    assert call["tokens"]["output"] == message.usage.output_tokens > 0
