"""Reads the samples of answers with the dialects that they are of."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from tests.model.answering import Answering, singles
from tests.model.support_answers import Answer
from tests.model.support_samples import ANTHROPIC, BEDROCK, CHAT, GEMINI, RESPONSES, Stream
from trivet.model_service.adapters.anthropic import Anthropic
from trivet.model_service.adapters.bedrock import Bedrock
from trivet.model_service.adapters.gemini import Gemini
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.domain.ports import Dialect
from trivet.model_service.domain.turn import Message, Text, TurnEvent, TurnRequest

READERS: dict[str, tuple[Callable[[UpstreamHttp], Dialect], dict[str, Stream]]] = {
    "openai-responses": (OpenAIResponses, RESPONSES),
    "openai-chat": (OpenAIChat, CHAT),
    "anthropic": (Anthropic, ANTHROPIC),
    "gemini": (Gemini, GEMINI),
    "bedrock": (lambda http: Bedrock(http, http), BEDROCK),
}
"""The dialects, each with its samples."""


def read(provider: str, sample: Stream) -> list[TurnEvent]:
    """The events of a sample."""
    dialect = READERS[provider][0](cast("UpstreamHttp", Answering({}, sample, done=provider.startswith("openai-"))))
    return asyncio.run(_events(dialect))


def is_told(provider: str, answer: Answer) -> bool:
    """Whether the provider's API tells it; a sample of which it is not read fails."""
    sample = READERS[provider][1].get(answer.name)
    if sample is None:
        return False
    events = read(provider, sample)
    assert answer.is_told(events), f"{provider}: {answer.name} is not read from {events}"
    return True


async def _events(dialect: Any) -> list[TurnEvent]:
    request = TurnRequest("m", (Message("user", (Text("hi"),)),), stream=True)
    return [event async for batch in dialect.turn(request) for event in singles(batch)]
