"""Whatever an upstream says, the official SDK reads it through either face, over either dialect, streamed or whole."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.e2e.answers import ANSWERS, Answer, from_completion, from_response
from tests.e2e.sdk import sdk
from tests.e2e.shapes import Shape
from tests.model.chat_chunks import USAGE

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS),
    pytest.mark.parametrize("dialect", ["lab", "oai"]),
]

ASKED = [{"role": "user", "content": "go"}]


@pytest_asyncio.fixture(loop_scope="session", params=["/v1", "/api/llm"])
async def client(one: Shape, request: pytest.FixtureRequest) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"{one.url}{request.param}") as opened:
        yield opened


def more(said: Answer, face: str) -> dict[str, Any]:
    """The parameters without which a model would not say this."""
    if said.logprobs:
        return {"include": ["message.output_text.logprobs"]} if face == "responses" else {"logprobs": True}
    if not said.calls:
        return {}
    parameters = {"type": "object", "properties": {}, "additionalProperties": True}
    functions = [{"name": call.name, "parameters": parameters} for call in said.calls]
    if face == "responses":
        return {"tools": [{"type": "function", "strict": False, **function} for function in functions]}
    return {"tools": [{"type": "function", "function": function} for function in functions]}


async def test_a_response_comes_whole(one: Shape, client: openai.AsyncOpenAI, dialect: str, said: Answer) -> None:
    one.upstream.play(said.script(dialect, streamed=False))

    given = await client.responses.create(model=f"{dialect}/m", input="go", **more(said, "responses"))

    assert from_response(given) == said.whole()
    assert (given.status, given.model) == ("completed", f"{dialect}/m")
    assert given.usage is not None
    assert given.usage.total_tokens == given.usage.input_tokens + given.usage.output_tokens


async def test_the_final_response_is_what_was_streamed(
    one: Shape, client: openai.AsyncOpenAI, dialect: str, said: Answer
) -> None:
    one.upstream.play(said.script(dialect, streamed=True))
    pieces: dict[str, list[str]] = {"output_text": [], "refusal": [], "reasoning_text": []}

    async with client.responses.stream(model=f"{dialect}/m", input="go", **more(said, "responses")) as events:
        async for event in events:
            kind = event.type.removeprefix("response.").removesuffix(".delta")
            if event.type.endswith(".delta") and kind in pieces:
                pieces[kind].append(event.delta)  # type: ignore[union-attr]
        given = await events.get_final_response()

    assert from_response(given) == said.whole()
    # Piece by piece, as the model said it: nothing was held back.
    assert pieces == {"output_text": [*said.text], "refusal": [*said.refusal], "reasoning_text": [*said.reasoning]}


async def test_a_chat_completion_comes_whole(one: Shape, client: openai.AsyncOpenAI, dialect: str, said: Answer) -> None:
    one.upstream.play(said.script(dialect, streamed=False))

    given = await client.chat.completions.create(model=f"{dialect}/m", messages=ASKED, **more(said, "chat"))  # type: ignore[arg-type]

    assert from_completion(given) == said.whole()
    assert (given.choices[0].finish_reason, given.model) == (said.finish_reason, f"{dialect}/m")
    assert given.usage is not None
    assert given.usage.total_tokens == given.usage.prompt_tokens + given.usage.completion_tokens


async def test_the_final_chat_completion_is_what_was_streamed(
    one: Shape, client: openai.AsyncOpenAI, dialect: str, said: Answer
) -> None:
    one.upstream.play(said.script(dialect, streamed=True))
    asked: dict[str, Any] = {"model": f"{dialect}/m", "messages": ASKED, "stream_options": {"include_usage": True}}
    pieces: list[str] = []
    reasoning: list[str] = []

    async with client.chat.completions.stream(**asked, **more(said, "chat")) as events:
        async for event in events:
            if event.type == "chunk":
                for choice in event.chunk.choices:
                    pieces += [choice.delta.content] if choice.delta.content else []
                    reasoning.append(getattr(choice.delta, "reasoning_content", None) or "")
        given = await events.get_final_completion()

    found = from_completion(given)
    assert (found.text, found.refusal, found.calls) == (said.whole().text, said.whole().refusal, said.calls)
    assert found.logprobs == said.logprobs
    assert pieces == [*said.text]
    assert [piece for piece in reasoning if piece] == [*said.reasoning]
    assert given.choices[0].finish_reason == said.finish_reason
    assert given.usage is not None
    if dialect == "lab":
        assert given.usage.total_tokens == USAGE["total_tokens"]
