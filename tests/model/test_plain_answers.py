"""Whole chat answers that are read by the short way say what they say by the long one, by which a stream is read."""

from typing import Any

import pytest

from tests.model.chat_chunks import HEAD, USAGE
from tests.upstreams.scripted import ScriptedUpstream, answer
from trivet.kernel.errors import ServiceError
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_chat_plain import plain_events
from trivet.model_service.adapters.upstream_http import Endpoint, UpstreamHttp
from trivet.model_service.domain.turn import Message, Text, TurnEvent, TurnRequest

Json = dict[str, Any]


def whole(*, choice: Json | None = None, head: Json | None = None, **message: Any) -> Json:
    said = {"role": "assistant", "content": "hi", **message}
    return HEAD | {"choices": [{"index": 0, "finish_reason": "stop", "message": said} | (choice or {})], **(head or {})}


ANSWERS: dict[str, Json] = {
    "plain": whole(refusal=None, annotations=[], tool_calls=None),
    "empty": whole(content=""),
    "without a text": whole(content=None),
    "cut short": whole(choice={"finish_reason": "length"}),
    "unfinished": whole(choice={"finish_reason": None}),
    "odd reason": whole(choice={"finish_reason": "eos"}),
    "odd head": whole(head={"id": 5, "created": "now", "model": None, "system_fingerprint": "fp", "service_tier": "flex"}),
    "usage": whole(head={"usage": USAGE}),
    "short usage": whole(head={"usage": {"prompt_tokens": 3}}),
    "empty usage": whole(head={"usage": {}}),
    "null usage": whole(head={"usage": {"prompt_tokens": None, "prompt_tokens_details": None}}),
    "cache hits": whole(head={"usage": {"prompt_tokens": 3, "completion_tokens": 1, "prompt_cache_hit_tokens": 2}}),
    "broken usage": whole(head={"usage": {"prompt_tokens": "3"}}),
    "usage of a list": whole(head={"usage": [3]}),
    "endless usage": whole(head={"usage": {"prompt_tokens": 2**70}}),
    "broken details": whole(head={"usage": {"prompt_tokens_details": 5}}),
    "parts": whole(content=[{"type": "text", "text": "hi"}]),
    "broken content": whole(content=5),
    "refusal": whole(content=None, refusal="no"),
    "thought": whole(reasoning_content="hm"),
    "citation": whole(annotations=[{"type": "url_citation", "url_citation": {"url": "https://a.example"}}]),
    "call": whole(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{}"}}]),
    "broken calls": whole(tool_calls="none"),
    "unknown": whole(novel={"a": 1}),
    "log probabilities": whole(choice={"logprobs": {"content": [{"token": "hi", "logprob": -1.0, "top_logprobs": []}]}}),
    "second choice": whole(choice={"index": 1}),
}


async def told(dialect: OpenAIChat, *, stream: bool) -> list[TurnEvent] | str:
    asked = TurnRequest("m", (Message("user", (Text("hi"),)),), stream=stream)
    try:
        return [event async for batch in dialect.turn(asked) for event in batch]
    except ServiceError as error:
        return error.message


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_says_the_same_read_by_either_way(name: str) -> None:
    async with ScriptedUpstream() as upstream:
        dialect = OpenAIChat(UpstreamHttp("lab", Endpoint(upstream.base_url)))
        upstream.play(answer(ANSWERS[name]))
        upstream.play(answer(ANSWERS[name]))
        found = [await told(dialect, stream=stream) for stream in (False, True)]
        await dialect.aclose()
    assert found[0] == found[1]


def test_the_plainest_answer_goes_the_short_way() -> None:
    assert plain_events(ANSWERS["plain"]) is not None
    assert plain_events(ANSWERS["thought"]) is None
